"""A clock that measures how long work takes on a device. Imports torch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Clock:
    """A clock for work on `device`: between CUDA events on a GPU, whose queue is kept full; by the host's clock
    otherwise.
    """

    device: torch.device
    runs: int

    def seconds(self, work: Callable[[], object]) -> float:
        """Return the median of `runs` runs, after three runs that warm up."""
        for _ in range(3):
            work()
        if self.device.type != "cuda":
            return statistics.median(self._by_host(work) for _ in range(self.runs))
        marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(self.runs)]
        torch.cuda.synchronize()
        for before, after in marks:
            before.record()
            work()
            after.record()
        torch.cuda.synchronize()
        return statistics.median(before.elapsed_time(after) for before, after in marks) / 1e3

    def wall(self, work: Callable[[], object]) -> float:
        """Return the shortest of three runs by the host's clock. A run ends when the device has no work left."""
        work()
        return min(self._by_host(work) for _ in range(3))

    def _by_host(self, work: Callable[[], object]) -> float:
        self._settle()
        started = time.perf_counter()
        work()
        self._settle()
        return time.perf_counter() - started

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
