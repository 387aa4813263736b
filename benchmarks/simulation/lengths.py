"""Texts of many lengths in virtual time: batches of like length (`lengthBuckets`) beside those in its order."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torchserve.scheduler.errors import QueueFull, SchedulerError
from torchserve.scheduler.job import Batch, Job
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import BatchPolicy
from torchserve.scheduler.virtual_time import VirtualLoop

from .worker import WARMUP, Worker


@dataclass(frozen=True)
class Texts:
    """A model of texts: the seconds of a batch by its rows and its longest text's tokens, and what its texts are."""

    name: str
    seconds: Callable[[int, int], float]
    lengths: tuple[int, ...]  # tokens, each as likely as the others
    buckets: tuple[int, ...]
    batch_size: int = 8

    def bucket(self, length: int) -> int:
        """Return the class of a text."""
        return next((at for at, most in enumerate(self.buckets) if length <= most), len(self.buckets))


@dataclass
class Seen:
    """The results after warm-up: latencies (s), in order once it is over, requests refused, sizes of batches."""

    took: list[float] = field(default_factory=list[float])
    refused: int = 0
    sizes: list[int] = field(default_factory=list[int])
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Return the requests answered in a second."""
        return len(self.took) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency (s) that this share of the requests took at most."""
        return self.took[min(len(self.took) - 1, int(len(self.took) * share))]

    @property
    def batch(self) -> float:
        """Return the mean size of a batch."""
        return statistics.fmean(self.sizes)


class _Request:
    """The sink of one request: it notes how long it took, then calls `after`, as a client of a closed loop does."""

    __slots__ = ("_after", "_arrived", "_seen")

    def __init__(self, arrived: float, seen: Seen, after: Callable[[], None] | None) -> None:
        self._arrived = arrived
        self._seen = seen
        self._after = after

    def chunk(self, item: object) -> None: ...

    def done(self, item: object) -> None:
        if self._arrived >= WARMUP:
            self._seen.took.append(asyncio.get_running_loop().time() - self._arrived)
        if self._after is not None:
            self._after()

    def fail(self, error: Exception) -> None:
        self._seen.refused += isinstance(error, QueueFull)


def play(
    texts: Texts,
    arrivals: Iterator[float] | int,
    seconds: float,
    *,
    bucketed: bool,
    rule: str = "adaptive",
    delay: float = 0.1,
) -> Seen:
    """Offer `arrivals`, or that many clients in a closed loop, for WARMUP + `seconds`, and return what was seen.

    If `bucketed`, batches are formed by length. Texts are drawn alike each time.
    """

    async def main() -> Seen:
        loop, draw, seen = asyncio.get_running_loop(), random.Random(1), Seen(seconds=seconds)
        classes = len(texts.buckets) + 1 if bucketed else 1
        scheduler = ModelScheduler(BatchPolicy(texts.batch_size, delay, 1000, rule, length_classes=classes))

        def seconds_of(batch: Batch) -> float:
            lengths = [job.payload for job in batch.jobs]
            if loop.time() >= WARMUP:
                seen.sizes.append(len(lengths))
            return texts.seconds(len(lengths), max(length for length in lengths if isinstance(length, int)))

        scheduler.attach(Worker(scheduler, seconds_of, random.Random(0)))
        over = asyncio.Event()
        loop.call_at(WARMUP + seconds, over.set)

        def ask(again: Callable[[], None] | None = None) -> None:
            if over.is_set():
                return
            length = draw.choice(texts.lengths)
            sink = _Request(loop.time(), seen, again)
            job = Job("", length, sink, length_class=texts.bucket(length) if bucketed else 0)
            try:
                scheduler.submit(job)
            except QueueFull:
                seen.refused += 1

        def asks_again() -> None:
            ask(asks_again)

        if isinstance(arrivals, int):
            for _ in range(arrivals):
                ask(asks_again)
        else:
            for at in arrivals:
                if at > WARMUP + seconds:
                    break
                loop.call_at(at, ask)
        await over.wait()
        scheduler.flush(SchedulerError("over"))
        await scheduler.idle()
        seen.took.sort()
        return seen

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())
