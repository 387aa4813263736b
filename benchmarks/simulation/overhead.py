"""Measures the scheduler's own cost: processor seconds per request through a ModelScheduler, and per placement."""

from __future__ import annotations

import asyncio
import random
import time

from torchserve.scheduler.gpu import Gpu, Lease
from torchserve.scheduler.job import Batch, Job
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.placement import Claim, place
from torchserve.scheduler.policy import BatchPolicy

REQUESTS = 20_000


class _Instant:
    """A worker that finishes each batch at the loop's next turn."""

    name = "instant"
    device = "cpu"

    def __init__(self, scheduler: ModelScheduler) -> None:
        self._scheduler = scheduler
        self._loop = asyncio.get_running_loop()

    def run(self, batch: Batch) -> None:
        self._loop.call_soon(self._scheduler.finish, batch, [None] * len(batch.jobs))

    def batch_started(self, batch: Batch) -> None: ...


class _Sink:
    def chunk(self, item: object) -> None: ...

    def done(self, item: object) -> None: ...

    def fail(self, error: Exception) -> None: ...


def decision_cost(size: int) -> float:
    """Return the seconds of one request, with a deadline, from `submit` to its sink. `size` requests come at a time."""

    async def main() -> float:
        scheduler = ModelScheduler(BatchPolicy(size, 0.005, 10_000))
        scheduler.attach(_Instant(scheduler))
        sink = _Sink()
        begin = time.process_time()
        for _ in range(REQUESTS // size):
            until = scheduler.now() + 10.0
            for _ in range(size):
                scheduler.submit(Job("", None, sink, deadline=until, expires=until))
            await scheduler.idle()
        return (time.process_time() - begin) / (REQUESTS // size * size)

    return asyncio.run(main())


def placement_cost(gpus: int, models: int) -> float:
    """Return the seconds of one placement decision with `models` workers placed on `gpus` GPUs already."""
    draw = random.Random(1)
    there = [Gpu(at, f"GPU-{at}", "simulated", 80 << 30, draw.randrange(80 << 30), gpus) for at in range(gpus)]
    leases = [
        Lease(f"GPU-{draw.randrange(gpus)}", f"W-{at}", f"model {at}", 1 << 30, 1 << 30, loading=False)
        for at in range(models)
    ]
    claim = Claim("another", 2 << 30, 1 << 30)
    begin = time.process_time()
    for _ in range(5):
        place(there, leases, claim, 1 << 30)
    return (time.process_time() - begin) / 5
