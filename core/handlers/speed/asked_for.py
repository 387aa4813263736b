"""Tries what only the model's yaml asks for: copies that move answers, and one that takes long to make. Imports torch.

Each is measured like the others (autotune.py) and taken if it is faster. The note says by how much, and how far its
answers are from the plain model's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ...config.speed_options import chosen
from ..loading.onnx import is_session
from .autotune import COMPILING, Autotuner
from .candidate import Candidate
from .copies import Copied, bfloat16_unit, compiled, in_bfloat16, with_int8_linears

KEYS = ("bf16", "quantize", "compile")  # the yaml's, in the order in which they are tried


def asked_for(config: Mapping[str, Any], notes: dict[str, str]) -> list[str]:
    """Return those of KEYS that the yaml asks for. A value that is none is noted."""
    keys: list[str] = []
    for key in KEYS:
        try:
            if chosen(config, key):
                keys.append(key)
        except ValueError as error:
            notes[key] = f"as loaded: {error}"
    return keys


def try_asked_for(
    handler: Any, keys: list[str], tuner: Autotuner, size: int, unit: Callable[[], str | None] = bfloat16_unit
) -> dict[str, str]:
    """Try what `keys` ask for, in batches of up to `size` rows, and return a note on each. Tests replace `unit`."""
    notes: dict[str, str] = {}
    for key in keys:
        why = _unsuited(handler, key, tuner, unit)
        notes[key] = f"as loaded: {why}" if why else _try(handler, key, tuner, size)
    return notes


def _unsuited(handler: Any, key: str, tuner: Autotuner, unit: Callable[[], str | None]) -> str:
    """Return why nothing is tried, "" if something is."""
    if tuner.row.device.type != "cpu":
        return f"{key} is for models on a CPU"
    if is_session(handler.model) or not isinstance(handler.model, torch.nn.Module):
        return "the model is not a module of PyTorch"
    if tuner.compiled:
        return "pt2 has it compiled"
    if key == "bf16" and unit() is None:
        return "this processor has neither AMX nor AVX512-BF16"
    return ""


def _try(handler: Any, key: str, tuner: Autotuner, size: int) -> str:
    made: list[Copied] = []
    model, row, before = handler.model, tuner.row, handler._faster_model  # noqa: SLF001
    name, convert, only = {
        "bf16": ("bfloat16", in_bfloat16, None),
        "quantize": ("int8 linear layers", with_int8_linears, None),
        "compile": ("compiled", lambda model: compiled(model, row, size), row),
    }[key]
    if key == "compile":
        tuner.extend(COMPILING)
    _, note = tuner.try_candidate(
        Candidate(
            name,
            "frozen" if before is not None else "as loaded",
            prepare=lambda: made.append(Copied(model, convert, only)),
            take=lambda: setattr(handler, "_faster_model", made[0]),
            leave=lambda: setattr(handler, "_faster_model", before),
            moves=key != "compile",
        )
    )
    return note
