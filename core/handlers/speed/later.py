"""What makes a loaded model faster is left for when it serves, unless it has to be there before. Imports torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ...user_folders import cache_path
from ...version import __version__
from ..context import Context
from .accelerate import STATE, LaterTuning, prepare
from .asked_for import asked_for
from .trial_key import trial_key
from .trial_memory import TrialMemory
from .turns import Later


def may_wait(handler: Any, config: Mapping[str, Any]) -> bool:
    """Return whether requests may come before the model is made faster.

    Not with padded batches, none of which may be compiled under load; nor on a GPU, where placement counts with the
    memory that a loaded model is seen to have; nor if the yaml says so, or asks for what moves answers, which must not
    change while the model serves, or for what takes minutes to compile.
    """
    device = getattr(handler, "device", None)
    on_cpu = device is None or torch.device(device).type == "cpu"
    first = handler.padded_batch_sizes or config.get("warmUpFirst") is True or asked_for(config, {})
    return on_cpu and not first


def tune_later(handler: Any, config: Mapping[str, Any], context: Context) -> Later | None:
    """Return what is to be done once the model serves, None if there is nothing, and note that in the context."""
    batch_size = context.system_properties["batch_size"]
    if not prepare(handler, config, context.notes):
        return None
    context.notes[STATE] = "as loaded: what is faster is tried when no request waits"
    folder = Path(context.system_properties["model_dir"])
    said = (torch.__version__, __version__, batch_size, torch.get_num_threads(), os.environ.get("TS_WORKER_CORES", ""))

    def memory(between: Callable[[], None]) -> TrialMemory:
        return TrialMemory(cache_path("trials"), trial_key(folder, said, between))

    return LaterTuning(handler, config, batch_size, context.notes, memory)
