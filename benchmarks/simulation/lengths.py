"""Texts of many lengths in virtual time: batches of like length (`lengthBuckets`) beside those in its order."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torchserve.scheduler.errors import QueueFull, SchedulerError
from torchserve.scheduler.job import Batch, Job
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import BatchPolicy
from torchserve.scheduler.virtual_time import VirtualLoop

WARMUP = 3.0  # virtual seconds whose requests are not counted
NOISE = 0.05  # standard deviation of a batch's time, as a share of it


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


class _Worker:
    """A worker whose batches take what the model takes for their longest text, plus noise."""

    name = device = "simulated"

    def __init__(self, scheduler: ModelScheduler, texts: Texts, seen: Seen) -> None:
        self._scheduler = scheduler
        self._texts = texts
        self._seen = seen
        self._draw = random.Random(0)
        self._loop = asyncio.get_running_loop()
        self._has: deque[Batch] = deque()

    def run(self, batch: Batch) -> None:
        self._has.append(batch)
        if len(self._has) == 1:
            self._begin(batch)

    def batch_started(self, batch: Batch) -> None: ...

    def _begin(self, batch: Batch) -> None:
        lengths = [job.payload for job in batch.jobs]
        if self._loop.time() >= WARMUP:
            self._seen.sizes.append(len(lengths))
        longest = max(length for length in lengths if isinstance(length, int))
        seconds = self._texts.seconds(len(lengths), longest) * max(0.5, self._draw.gauss(1.0, NOISE))
        self._loop.call_later(seconds, self._done, batch)

    def _done(self, batch: Batch) -> None:
        self._has.popleft()
        if self._has:
            self._begin(self._has[0])
        self._scheduler.finish(batch, [None] * len(batch.jobs))


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
        scheduler.attach(_Worker(scheduler, texts, seen))
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
