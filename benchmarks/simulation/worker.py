"""A worker in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable

from torchserve.scheduler.job import Batch
from torchserve.scheduler.model_scheduler import ModelScheduler

WARMUP = 3.0  # virtual seconds whose requests are not counted
NOISE = 0.05  # standard deviation of a batch's time, as a share of it


class Worker:
    """A worker that runs one batch after the other, each for as long as `seconds` says when it begins, plus noise."""

    name = "simulated"
    device = "simulated"

    def __init__(self, scheduler: ModelScheduler, seconds: Callable[[Batch], float], draw: random.Random) -> None:
        self._scheduler = scheduler
        self._seconds = seconds
        self._draw = draw
        self._loop = asyncio.get_running_loop()
        self._has: deque[Batch] = deque()
        self.sizes: list[int] = []

    def run(self, batch: Batch) -> None:
        self._has.append(batch)
        if len(self._has) == 1:
            self._begin(batch)

    def batch_started(self, batch: Batch) -> None: ...

    def _begin(self, batch: Batch) -> None:
        self.sizes.append(len(batch.jobs))
        seconds = self._seconds(batch) * max(0.5, self._draw.gauss(1.0, NOISE))
        self._loop.call_later(seconds, self._done, batch)

    def _done(self, batch: Batch) -> None:
        self._has.popleft()
        if self._has:
            self._begin(self._has[0])
        self._scheduler.finish(batch, [None] * len(batch.jobs))
