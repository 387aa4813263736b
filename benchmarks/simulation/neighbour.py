"""A quiet client beside a noisy one, in virtual time: what the quiet one's latencies are then, and when it is alone."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from torchserve.scheduler.errors import QueueFull, SchedulerError
from torchserve.scheduler.job import Job
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import BatchPolicy, SharePolicy
from torchserve.scheduler.virtual_time import VirtualLoop

from .cell import Curve
from .worker import WARMUP, Worker

QUEUE = 100  # jobs, the default of job_queue_size
QUIET, NOISY = "quiet", "noisy"


@dataclass(frozen=True)
class Cell:
    """A set of workers of one service curve, how batches are formed, and how clients share: None is first come."""

    curve: Curve
    batch_size: int
    workers: int = 1
    rule: str = "adaptive"
    delay: float = 0.1
    shares: SharePolicy | None = None


@dataclass(frozen=True)
class Seen:
    """The results after warm-up: the quiet client's latencies (s) in order, how many requests of each client were
    refused, the mean size of batches, and jobs done a second.
    """

    took: list[float]
    refused: dict[str, int]
    batch: float
    rate: float

    @property
    def p99(self) -> float:
        """Return the 99th percentile of the quiet client's latencies (s)."""
        return self.took[min(len(self.took) - 1, int(len(self.took) * 0.99))]


class _Request:
    """The sink of one request, which notes how long it took, or that it was refused."""

    __slots__ = ("_arrived", "_client", "_seen")

    def __init__(self, client: str, arrived: float, seen: Seen) -> None:
        self._client = client
        self._arrived = arrived
        self._seen = seen

    def chunk(self, item: object) -> None: ...

    def done(self, item: object) -> None:
        if self._client == QUIET and self._arrived >= WARMUP:
            self._seen.took.append(asyncio.get_running_loop().time() - self._arrived)

    def fail(self, error: Exception) -> None:
        self._seen.refused[self._client] += isinstance(error, QueueFull)


def play(cell: Cell, quiet: Iterator[float], noisy: Iterator[float] | None, seconds: float) -> Seen:
    """Offer both clients' arrivals for WARMUP + `seconds` of virtual time, and return what was seen."""

    async def main() -> Seen:
        loop = asyncio.get_running_loop()
        scheduler = ModelScheduler(
            BatchPolicy(
                cell.batch_size, cell.delay, QUEUE, cell.rule, padded_sizes=cell.curve.padded, shares=cell.shares
            )
        )
        workers = [Worker(scheduler, cell.curve.of_batch, random.Random(number)) for number in range(cell.workers)]
        for worker in workers:
            scheduler.attach(worker)
        seen = Seen([], {QUIET: 0, NOISY: 0}, 0.0, 0.0)
        over = asyncio.Event()

        def arrive(client: str, arrivals: Iterator[float]) -> None:
            sink = _Request(client, loop.time(), seen)
            try:
                scheduler.submit(Job("", None, sink, client=client))
            except QueueFull as error:
                sink.fail(error)
            following(client, arrivals)

        def following(client: str, arrivals: Iterator[float]) -> None:
            at = next(arrivals)
            if at > WARMUP + seconds:
                over.set()
            else:
                loop.call_at(at, arrive, client, arrivals)

        for client, arrivals in ((QUIET, quiet), (NOISY, noisy)):
            if arrivals is not None:
                following(client, arrivals)
        await over.wait()
        sizes = [size for worker in workers for size in worker.sizes]
        found = Seen(sorted(seen.took), dict(seen.refused), statistics.fmean(sizes), sum(sizes) / loop.time())
        scheduler.flush(SchedulerError("over"))
        await scheduler.idle()
        return found

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())
