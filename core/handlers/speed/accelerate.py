"""Makes a loaded model faster without changing its answers by more than rounding. Imports torch.

A frozen copy of the model, another memory format and more threads are tried one after the other, each on top of what
was taken before. What is measured to be faster is kept. Then batch sizes are run, so that the first requests are not
the slow ones.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..loading.onnx import is_session
from .autotune import Autotuner, Candidate
from .example_input import example_input, hooks_are_builtin, restore_state
from .frozen import LARGEST, Frozen, parameter_bytes
from .num_threads import GAIN, HEAVY, NumThreads

log = logging.getLogger(__name__)


def accelerate(
    handler: Any, config: Mapping[str, Any], batch_size: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, str]:
    """Make the handler's model faster, and return notes on what was chosen, by subject. `config` is the model's yaml.

    Never raises: a model that can't be warmed up is served as it is.
    """
    notes = {"threads": str(torch.get_num_threads())}
    model = getattr(handler, "model", None)
    try:
        if config.get("channelsLast") is True and isinstance(model, torch.nn.Module):
            model.to(memory_format=torch.channels_last)
            notes["memory format"] = "channels last: channelsLast is true in the model's yaml"
        # Ranks of one model must run the same batches, or they wait for one another for ever.
        if model is None or config.get("warmUp") is False or "LOCAL_RANK" in os.environ:
            return notes
        with restore_state(handler):
            row = example_input(handler, config.get("warmUp"))
            if row is not None:
                size = getattr(handler.handle, "micro_batch_size", batch_size)
                _Tuning(handler, config, Autotuner(handler, row, size, clock), notes, clock).all()
            else:
                _share_out_at_work(handler, notes, clock)
    except Exception as error:  # noqa: BLE001  a model may raise anything for an input that is no request
        log.info("The model can't be warmed up: %s: %s", type(error).__name__, error)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        notes["warm-up"] = f"failed: {type(error).__name__}: {error}"
    return notes


class _Tuning:
    """The choices for one model. The outcome of each goes into `notes`."""

    def __init__(
        self,
        handler: Any,
        config: Mapping[str, Any],
        tuner: Autotuner,
        notes: dict[str, str],
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._handler = handler
        self._config = config
        self._tuner = tuner
        self._notes = notes

    def all(self) -> None:
        """Make all choices and warm the model up."""
        frozen = self._freeze() if self._is_convolutional() else False
        if not frozen and self._is_convolutional() and not isinstance(self._config.get("channelsLast"), bool):
            self._lay_out()
        self._share_out()
        self._notes["warm-up"] = self._tuner.warm_up()

    def _is_convolutional(self) -> bool:
        model = self._handler.model
        if is_session(model) or self._tuner.compiled or not isinstance(model, torch.nn.Module):
            return False
        images = self._tuner.row.ndim == 3
        return images and any(each.ndim == 4 and each.shape[2:] != (1, 1) for each in model.parameters())

    def _freeze(self) -> bool:
        """Try a frozen copy, and return whether it was taken. Its convolutions are merged, and it chooses their layout
        itself.
        """
        choice, row, model = self._config.get("freeze"), self._tuner.row, self._handler.model
        if choice is False or row.device.type != "cpu":
            return False
        if choice is not True and parameter_bytes(model) > LARGEST:
            size = f"{parameter_bytes(model) >> 20} MiB"
            self._notes["freeze"] = f"as loaded: a copy of its {size} of weights would be too large"
            return False
        taken, note = self._tuner.try_candidate(
            Candidate(
                "frozen",
                "as loaded",
                take=lambda: setattr(self._handler, "_frozen_model", Frozen(model, row)),
                leave=lambda: setattr(self._handler, "_frozen_model", None),
                **({"gain": 0.0} if choice is True else {}),
            )
        )
        self._notes["freeze"] = note
        return taken

    def _lay_out(self) -> None:
        model = self._handler.model
        _, self._notes["memory format"] = self._tuner.try_candidate(
            Candidate(
                "channels last",
                "as the model has it",
                take=lambda: model.to(memory_format=torch.channels_last),
                leave=lambda: model.to(memory_format=torch.contiguous_format),
            )
        )

    def _share_out(self) -> None:
        """Try all cores of the worker's share, unless the model is so light that the front needs one of them."""
        few, most = _shares(self._handler)
        if few == most:
            return
        if self._tuner.seconds_per_row < HEAVY:
            self._notes["threads"] = (
                f"{few}: a row takes {1000 * self._tuner.seconds_per_row:.1f} ms, so the front needs its core"
            )
            return
        _, self._notes["threads"] = self._tuner.try_candidate(
            Candidate(
                str(most),
                str(few),
                take=lambda: torch.set_num_threads(most),
                leave=lambda: torch.set_num_threads(few),
                gain=GAIN,
            )
        )
        vars(self._handler)["_num_threads"] = NumThreads(few, most, self._clock)


def _share_out_at_work(handler: Any, notes: dict[str, str], clock: Callable[[], float]) -> None:
    """Let batches at work decide the number of threads, for a model whose input is not known before the
    first request.
    """
    few, most = _shares(handler)
    if few < most and hooks_are_builtin(handler, "inference"):
        notes["threads"] = f"{few} at first: at work it is measured whether {most} are faster"
        vars(handler)["_num_threads"] = NumThreads(few, most, clock, measured=False)


def _shares(handler: Any) -> tuple[int, int]:
    """Return the current number of threads and the largest one allowed. Both are equal where there is no choice."""
    few, most = torch.get_num_threads(), int(os.environ.get("TS_WORKER_CORES", "0"))
    on_cpu = handler.device is None or torch.device(handler.device).type == "cpu"
    return (few, most) if most > few and on_cpu and not is_session(handler.model) else (few, few)
