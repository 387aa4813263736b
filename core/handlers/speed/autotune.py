"""Trial: a loaded model run and timed as requests would run it, and choices made by that. Imports torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from .frozen import Unfrozen
from .outputs_close import alike

BUDGET = 4.0  # seconds that all of this may take, but for a first run, which is the first request's otherwise
COMPILING = 60.0  # the same where each batch size is compiled
_MEASURING = 0.45  # of what is left of the budget, for one choice; the rest is for others and for the batch sizes
_RUNS = 2  # of each batch size, after one that doesn't count; the fastest one counts
_RUNS_OF_ONE = 5  # the same of a single row, whose time is the more easily disturbed
_SCRIPT_RUNS = 3  # after which TorchScript has optimized for a shape
_EVEN = 0.95  # times as fast for a single row: whatever is less is slower, and not the measurement
TOO_LONG = "measuring would take too long"


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that may make a model faster: `take` it, or `leave` it as it was before."""

    name: str
    otherwise: str
    take: Callable[[], Any]
    leave: Callable[[], Any]
    gain: float = 1.1  # times as fast it must be for the largest batch, as measurements vary; 0 takes it in any case


class Trial:
    """One model and its example; `clock` is for tests."""

    def __init__(
        self, handler: Any, row: torch.Tensor, batch_size: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.row = row
        self._handler = handler
        self._padded = handler.padded_size(batch_size) if handler.padded_batch_sizes else 0
        padded = [size for size in handler.padded_batch_sizes if size <= self._padded]
        self._sizes = padded[::-1] or list(_sizes(batch_size))
        self._clock = clock
        self._started = clock()
        self.compiled = hasattr(handler.model, "_orig_mod")  # torch.compile's
        self._budget = COMPILING if self.compiled else BUDGET
        self._repeats = _SCRIPT_RUNS if isinstance(handler.model, torch.jit.ScriptModule) else 1
        for _ in range(self._repeats):
            self._run(1)
        self.each = self._timed(1)  # seconds of a row, as it is now
        self._warm = {handler.padded_size(1)}
        self._plain: dict[int, Any] = {}  # the answers as the model was loaded, by size of the batch
        self._times: dict[int, float] = {}

    def choose(self, choice: Choice) -> tuple[bool, str]:
        """Whether it is taken: if it gives the same answers and is faster, for the largest batch that there is time to
        measure, and not slower for one; and a note on that.
        """
        sizes = self._measurable()
        if not sizes:
            return False, f"{choice.otherwise}: {TOO_LONG}"
        for size in sizes:
            if size not in self._times:
                self._plain.setdefault(size, self._run(size))
                self._times[size] = self._fastest(size)
        try:
            choice.take()
            if not all(alike(self._run(size), self._plain[size], self.row.device) for size in sizes):
                why = f"{choice.name} changes the answers"
            else:
                times = {size: self._fastest(size) for size in sizes}
                gains = [self._times[size] / times[size] for size in sizes]
                told = " and ".join(f"{gain:.2f} for {size}" for gain, size in zip(gains, sizes, strict=True))
                if gains[0] >= min(_EVEN, choice.gain) and gains[-1] >= choice.gain:
                    self._times, self.each = times, times[sizes[-1]] / sizes[-1]
                    self._warm = {self._handler.padded_size(size) for size in (1, *sizes)}
                    return True, f"{choice.name}: measured {told} times as fast"
                why = f"{choice.name} is measured {told} times as fast"
        except Unfrozen as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001  a view of what is laid out otherwise now, most often
            why = f"{choice.name} fails: {type(error).__name__}: {error}"
        choice.leave()
        return False, f"{choice.otherwise}: {why}"

    def warm_up(self) -> str:
        """Run the batch sizes that there is time for; a note on which."""
        for size in self._sizes:
            # Padded sizes are all that will come, and each may have to be compiled: none is left to a request.
            if size not in self._warm and (self._padded or self._repeats * size * self.each <= self._left()):
                for _ in range(self._repeats):
                    self._run(size)
                self._warm.add(size)
        took = self._clock() - self._started
        return f"batches of {', '.join(map(str, sorted(self._warm)))} in {took:.1f} s"

    def _measurable(self) -> list[int]:
        for largest in sorted({1, *self._sizes}, reverse=True):
            sizes = sorted({1, largest})
            known = all(size in self._times for size in sizes)
            rows = (1 if known else 2) * sum(size * (_runs(size) + 2) for size in sizes)
            if rows * self.each <= _MEASURING * self._left():
                return sizes
        return []

    def _fastest(self, size: int) -> float:
        self._run(size)
        return min(self._timed(size) for _ in range(_runs(size)))

    def _timed(self, size: int) -> float:
        began = self._clock()
        self._run(size)
        return self._clock() - began

    def _run(self, size: int) -> Any:
        output = self._handler.inference(torch.stack([self.row] * size))
        if self.row.device.type == "cuda":
            torch.cuda.synchronize(self.row.device)
        return output

    def _left(self) -> float:
        return self._budget - (self._clock() - self._started)


def _runs(size: int) -> int:
    return _RUNS if size > 1 else _RUNS_OF_ONE


def _sizes(batch_size: int) -> Iterator[int]:
    """The largest batch and the powers of two below it, but for one; the most important first."""
    if batch_size > 1:
        yield batch_size
    size = 2
    while size < batch_size:
        yield size
        size *= 2
