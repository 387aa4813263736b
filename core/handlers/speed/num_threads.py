"""How many threads a heavy model computes with, adapted while it works. Imports torch.

What was fastest while the model loaded is no longer the fastest when another process has taken a core since, or has
given one back. So every few seconds one batch is computed with the other number of threads, and three faster ones in a
row change the number.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

GAIN = 1.25  # speed-up that all cores must bring: a smaller one is worth less than a free core is to the front
HEAVY = 0.002  # seconds per row above which the front has little to do beside the model
_LOSS = 1.1  # speed-up that fewer threads must bring: measurements vary
_WINS = 3  # faster tries in a row after which the number of threads changes
_SOONEST, _LATEST = 0.25, 4.0  # seconds until the next try: after a faster try, and at most; doubled after a slower one
_COMPARABLE = 1.5  # ratio of elements, and of work, up to which two batches are compared, by their seconds per work


class NumThreads:
    """A choice between `few` and `most` threads. It begins with the number that torch has when it is made."""

    def __init__(
        self,
        few: int,
        most: int,
        clock: Callable[[], float] = time.perf_counter,
        *,
        measured: bool = True,
        chosen: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Start with torch's current number of threads.

        `measured` says that the model is known to be heavy and that the current number is known to be the faster one.
        `chosen` is told each later choice in words. `clock` is replaced in tests.
        """
        self.least = 1
        """Rows of the batches that get more than `few` threads: one row may be slower with them."""
        self._few = few
        self._most = most
        self._clock = clock
        self._chosen = chosen
        self._now = torch.get_num_threads()
        self._wait = _LATEST if measured else _SOONEST
        self._due = clock() + self._wait
        self._wins = 0
        self._before = (0, 0, 0.0)  # elements, work and seconds of the last batch, zeros if it can't be compared

    def use(self, number: int) -> None:
        """Compute with `number` threads from now on, which are known to be the faster ones."""
        torch.set_num_threads(number)
        self._now, self._wins, self._before = number, 0, (0, 0, 0.0)
        self._wait = _LATEST
        self._due = self._clock() + self._wait

    def run(self, model: Callable[[Any], Any], data: Any) -> Any:
        """Return the model's output for the batch `data`, a tensor.

        Batches are compared by their elements or, of a model that has an attribute `work`, by what it says of the last
        one, 0 for one that can't be compared.
        """
        if self.least > 1 and len(data) < self.least:
            return self._run_with(self._few, model, data)
        size, began = data.numel(), self._clock()
        if began >= self._due and _comparable(size, self._before[0]):
            return self._try(model, data)
        output = model(data)
        seconds = self._clock() - began
        worth = self._now == self._most or seconds >= HEAVY * len(data)
        self._before = (size, _work(model, size), seconds) if worth else (0, 0, 0.0)
        return output

    def _try(self, model: Callable[[Any], Any], data: Any) -> Any:
        """Run the batch with the other number of threads, and compare its seconds per work with the last batch's."""
        other = self._few if self._now == self._most else self._most
        began = self._clock()
        output = self._run_with(other, model, data)
        ended = self._clock()
        (_, before, seconds), self._before = self._before, (0, 0, 0.0)
        work = _work(model, data.numel())
        if not _comparable(work, before):  # it says nothing, and the next one may
            return output
        gain = seconds / max(ended - began, 1e-9) * (work / before)
        won = gain >= (GAIN if other == self._most else _LOSS)
        self._wins = self._wins + 1 if won else 0
        if self._wins == _WINS:
            note = f"{other}: at work measured {gain:.2f} times as fast as {self._now}"
            self._now, self._wins, won = other, 0, False
            torch.set_num_threads(other)
            self._chosen(note)
        self._wait = _SOONEST if won else min(2 * self._wait, _LATEST)
        self._due = ended + self._wait
        return output

    def _run_with(self, number: int, model: Callable[[Any], Any], data: Any) -> Any:
        torch.set_num_threads(number)
        try:
            return model(data)
        finally:
            torch.set_num_threads(self._now)


def _work(model: Any, elements: int) -> int:
    return getattr(model, "work", elements)


def _comparable(one: int, other: int) -> bool:
    return 0 < one < other * _COMPARABLE and other < one * _COMPARABLE
