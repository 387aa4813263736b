"""Cores: how many threads a heavy model computes with, as the machine is now. Imports torch.

What was fastest while the model loaded is not when another process has taken a core since, or has given one back. So
every few seconds one batch is computed with the other number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

GAIN = 1.25  # times as fast all of the share must be, or the front end makes more of the core
HEAVY = 0.002  # seconds of a row, from which the front end has little to do beside it
_LOSS = 1.1  # times as fast without it, as measurements vary
_WINS = 3  # tries in a row that must be faster before anything changes
_SOONEST, _LATEST = 0.25, 4.0  # seconds between two tries: after a faster one; at most, doubled from the one on
_ALIKE = 1.5  # times as many elements as another a batch may have that is compared with it, element by element


class Cores:
    """Computes with `few` threads or with `most`, with those that torch has now to begin with. `clock` is for tests."""

    def __init__(
        self, few: int, most: int, clock: Callable[[], float] = time.perf_counter, *, measured: bool = True
    ) -> None:
        """`measured` is whether it is known already that a row is heavy, and which of the two is faster."""
        self._few = few
        self._most = most
        self._clock = clock
        self._now = torch.get_num_threads()
        self._wait = _LATEST if measured else _SOONEST
        self._due = clock() + self._wait
        self._wins = 0
        self._before = (0, 0.0)  # elements and seconds of the last batch that may be compared with

    def run(self, model: Callable[[Any], Any], data: Any) -> Any:
        """The model's output for the batch `data`, a tensor."""
        work, began = data.numel(), self._clock()
        if began >= self._due and self._before[0] < work * _ALIKE and work < self._before[0] * _ALIKE:
            return self._try(model, data)
        output = model(data)
        seconds = self._clock() - began
        worth = self._now == self._most or seconds >= HEAVY * len(data)
        self._before = (work, seconds) if worth else (0, 0.0)
        return output

    def _try(self, model: Callable[[Any], Any], data: Any) -> Any:
        other = self._few if self._now == self._most else self._most
        torch.set_num_threads(other)
        began = self._clock()
        try:
            output = model(data)
        finally:
            torch.set_num_threads(self._now)
        ended = self._clock()
        work, seconds = self._before
        gain = seconds / max(ended - began, 1e-9) * (data.numel() / work)
        won = gain >= (GAIN if other == self._most else _LOSS)
        self._wins = self._wins + 1 if won else 0
        if self._wins == _WINS:
            self._now, self._wins, won = other, 0, False
            torch.set_num_threads(other)
        self._wait = _SOONEST if won else min(2 * self._wait, _LATEST)
        self._due = ended + self._wait
        self._before = (0, 0.0)
        return output
