"""accelerate: what makes a loaded model faster and can't change its answers beyond rounding. Imports torch.

The memory format that is measured to be the faster one, and a warm-up, so that the first request isn't the slow one.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from .alike import alike
from .example import example_input, untouched
from .onnx import is_session

log = logging.getLogger(__name__)

BUDGET = 3.0  # seconds that all of this may take, but for a first run, which is the first request's otherwise
COMPILING = 60.0  # the same where each batch size is compiled
_MEASURING = 0.6  # of the budget; the rest is for the batch sizes
_RUNS = 2  # of each memory format and batch size, after one that doesn't count; the faster one counts
_SCRIPT_RUNS = 3  # after which TorchScript has optimized for a shape
_GAIN = 1.1  # times as fast channels last must be, as measurements vary


def accelerate(
    handler: Any, config: Mapping[str, Any], batch_size: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, str]:
    """Notes on what was chosen, by subject; `config` is the model's yaml.

    Never raises: a model that can't be warmed up is served as it is.
    """
    notes = {"threads": str(torch.get_num_threads())}
    model, choice = getattr(handler, "model", None), config.get("channelsLast")
    try:
        if choice is True and isinstance(model, torch.nn.Module):
            model.to(memory_format=torch.channels_last)
            notes["memory format"] = "channels last: channelsLast is true in the model's yaml"
        # The ranks of one model run in step, or wait for one another for ever.
        if model is None or config.get("warmUp") is False or "LOCAL_RANK" in os.environ:
            return notes
        with untouched(handler):
            row = example_input(handler, config.get("warmUp"))
            if row is not None:
                size = getattr(handler.handle, "micro_batch_size", batch_size)
                notes |= _Run(handler, row, size, clock).notes(measure=not isinstance(choice, bool))
    except Exception as error:  # noqa: BLE001  whatever a model says to an input that is not a request
        log.info("The model can't be warmed up: %s: %s", type(error).__name__, error)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        notes["warm-up"] = f"failed: {type(error).__name__}: {error}"
    return notes


class _Run:
    """One model and its example; `clock` is for tests."""

    def __init__(self, handler: Any, row: torch.Tensor, batch_size: int, clock: Callable[[], float]) -> None:
        self._handler = handler
        self._row = row
        self._sizes = list(_sizes(batch_size))
        self._clock = clock
        self._started = clock()
        model = handler.model
        self._compiled = hasattr(model, "_orig_mod")  # torch.compile's
        self._budget = COMPILING if self._compiled else BUDGET
        self._repeats = _SCRIPT_RUNS if isinstance(model, torch.jit.ScriptModule) else 1

    def notes(self, *, measure: bool) -> dict[str, str]:
        notes: dict[str, str] = {}
        for _ in range(self._repeats):
            self._run(1)
        each = self._timed(1)
        if measure and self._may_be_channels_last():
            notes["memory format"] = self._choose(each)
        warmed = [1]
        for size in self._sizes:
            if self._repeats * size * each <= self._left():
                for _ in range(self._repeats):
                    self._run(size)
                warmed.append(size)
        took = self._clock() - self._started
        return notes | {"warm-up": f"batches of {', '.join(map(str, sorted(warmed)))} in {took:.1f} s"}

    def _may_be_channels_last(self) -> bool:
        model = self._handler.model
        if is_session(model) or self._compiled or not isinstance(model, torch.nn.Module) or self._row.ndim != 3:
            return False
        return any(each.ndim == 4 and each.shape[2:] != (1, 1) for each in model.parameters())

    def _choose(self, each: float) -> str:
        """Turn the model to channels last if that answers the same and is faster, for the largest batch that there is
        time to measure, and not slower for one. `each` is the seconds of one row.
        """
        model, sizes = self._handler.model, self._measurable(each)
        if not sizes:
            return "as the model has it: measuring would take too long"
        expected = self._run(sizes[-1])
        before = [self._fastest(size) for size in sizes]
        model.to(memory_format=torch.channels_last)
        try:
            if not alike(self._run(sizes[-1]), expected, self._row.device):
                why = "channels last changes the answers"
            else:
                gains = [old / self._fastest(size) for size, old in zip(sizes, before, strict=True)]
                told = " and ".join(f"{gain:.2f} for {size}" for gain, size in zip(gains, sizes, strict=True))
                if gains[0] >= 1.0 and gains[-1] >= _GAIN:
                    return f"channels last: measured {told} times as fast"
                why = f"channels last is measured {told} times as fast"
        except Exception as error:  # noqa: BLE001  a view of what is laid out otherwise now, most often
            why = f"channels last fails: {type(error).__name__}: {error}"
        model.to(memory_format=torch.contiguous_format)
        return f"as the model has it: {why}"

    def _measurable(self, each: float) -> list[int]:
        for largest in sorted({1, *self._sizes}, reverse=True):
            rows = 2 * largest + 2 * (_RUNS + 1) * (largest + (1 if largest > 1 else 0))
            if rows * each <= _MEASURING * self._left():
                return sorted({1, largest})
        return []

    def _fastest(self, size: int) -> float:
        self._run(size)
        return min(self._timed(size) for _ in range(_RUNS))

    def _timed(self, size: int) -> float:
        began = self._clock()
        self._run(size)
        return self._clock() - began

    def _run(self, size: int) -> Any:
        output = self._handler.inference(torch.stack([self._row] * size))
        if self._row.device.type == "cuda":
            torch.cuda.synchronize(self._row.device)
        return output

    def _left(self) -> float:
        return self._budget - (self._clock() - self._started)


def _sizes(batch_size: int) -> Iterator[int]:
    """The largest batch and the powers of two below it, but for one; the most important first."""
    if batch_size > 1:
        yield batch_size
    size = 2
    while size < batch_size:
        yield size
        size *= 2
