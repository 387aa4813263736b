"""One cell of the comparison: a rule, a service curve and a load, and what the simulated clients saw."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torchserve.scheduler.errors import QueueFull, WouldBeLate
from torchserve.scheduler.job import Batch, Job
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import RULES, BatchPolicy
from torchserve.scheduler.virtual_time import VirtualLoop

from .rules import Deferred, PickUp
from .worker import WARMUP, Worker

QUEUE = 100_000  # jobs: long enough that no rule profits from refusals by a full queue


@dataclass(frozen=True)
class Curve:
    """A service curve: `seconds` of a batch by its size, up to `largest`. `slo` is in seconds."""

    name: str
    seconds: Callable[[int], float]
    largest: int
    slo: float
    padded: tuple[int, ...] = ()  # sizes to which the worker pads, which `seconds` accounts for

    def of_batch(self, batch: Batch) -> float:
        """Return the seconds of a batch."""
        return self.seconds(len(batch.jobs))

    @property
    def capacity(self) -> float:
        """Return the most jobs per second that one worker can do."""
        return max(size / self.seconds(size) for size in range(1, self.largest + 1))


def between(points: Mapping[int, float]) -> Callable[[int], float]:
    """Return a function that interpolates linearly between measured sizes."""
    sizes = sorted(points)

    def seconds(size: int) -> float:
        high = next(each for each in sizes if each >= size)
        low = max((each for each in sizes if each <= size), default=high)
        share = (size - low) / (high - low) if high > low else 0.0
        return points[low] + share * (points[high] - points[low])

    return seconds


def padded(seconds: Callable[[int], float], sizes: tuple[int, ...]) -> Callable[[int], float]:
    """Return a curve on which a batch costs what the next of `sizes` costs."""
    return lambda size: seconds(next(each for each in sizes if each >= size))


POWERS = (1, 2, 4, 8, 16, 32)
CURVES = (
    Curve("EfficientNet-Lite0, 2 cores", between({1: 0.014, 2: 0.023, 4: 0.045, 8: 0.168}), 8, 0.2),
    Curve("GPU-like, 4 + 0.6 b ms", lambda size: 0.004 + 0.0006 * size, 32, 0.05),
    Curve("convex, 2 b^1.4 ms", lambda size: 0.002 * size**1.4, 16, 0.05),
    Curve("padded to 1, 2, 4, … 32, 2 + b ms", padded(lambda size: 0.002 + 0.001 * size, POWERS), 32, 0.08, POWERS),
)

# name -> (the scheduler's rule, the delay as a share of the SLO, 0 for TorchServe's default of 100 ms)
CONTENDERS: dict[str, tuple[str, float]] = {
    "adaptive": ("adaptive", 1.0),
    "eager": ("eager", 0.0),  # no body is being received here, so a free worker takes what is queued at once
    "oldest age": ("fixed", 0.2),
    "pick-up": ("pickup", 0.2),
    "pick-up 100 ms": ("pickup", 0.0),  # TorchServe's default
    "deferred": ("deferred", 1.0),
}
OTHERS = {"pickup": PickUp, "deferred": Deferred}


@dataclass(frozen=True)
class CellResult:
    """The results that clients saw after warm-up: shares of the offered jobs, milliseconds, and the mean batch size."""

    offered: int
    in_time: float
    refused: float
    p50: float
    p99: float
    batch: float


class _Client:
    """The sink of one request, which notes how long it took."""

    __slots__ = ("_arrived", "_took")

    def __init__(self, arrived: float, took: list[float]) -> None:
        self._arrived = arrived
        self._took = took

    def chunk(self, item: object) -> None: ...

    def done(self, item: object) -> None:
        self._took.append(asyncio.get_running_loop().time() - self._arrived)

    def fail(self, error: Exception) -> None: ...


@contextmanager
def _other_rules() -> Iterator[None]:
    """Add the other servers' rules to those that a policy accepts, while the context is open."""
    RULES.update(OTHERS)
    try:
        yield
    finally:
        for name in OTHERS:
            del RULES[name]


def play(contender: str, curve: Curve, arrivals: Iterator[float], seconds: float) -> CellResult:
    """Offer `arrivals` to one worker for WARMUP + `seconds` of virtual time, and return what its clients saw."""
    rule, share = CONTENDERS[contender]
    delay = share * curve.slo if share else 0.1

    async def main() -> CellResult:
        loop = asyncio.get_running_loop()
        with _other_rules():
            scheduler = ModelScheduler(BatchPolicy(curve.largest, delay, QUEUE, rule, padded_sizes=curve.padded))
        worker = Worker(scheduler, curve.of_batch, random.Random(0))
        scheduler.attach(worker)
        took: list[float] = []
        early: list[float] = []
        offered = refused = 0
        over = asyncio.Event()
        deadline = curve.slo if (RULES | OTHERS)[rule].uses_latency else None

        def arrive() -> None:
            nonlocal offered, refused
            now = loop.time()
            counts = now >= WARMUP
            offered += counts
            try:
                scheduler.submit(
                    Job(
                        "", None, _Client(now, took if counts else early), deadline=now + deadline if deadline else None
                    )
                )
            except (QueueFull, WouldBeLate):
                refused += counts
            following()

        def following() -> None:
            at = next(arrivals, None)
            if at is None or at > WARMUP + seconds:
                over.set()
            else:
                loop.call_at(at, arrive)

        following()
        await over.wait()
        await scheduler.idle()
        return summary(took, offered, refused, curve.slo, worker.sizes)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def summary(took: list[float], offered: int, refused: int, slo: float, sizes: list[int]) -> CellResult:
    took = sorted(took)
    offered = max(1, offered)
    return CellResult(
        offered=offered,
        in_time=sum(each <= slo for each in took) / offered,
        refused=refused / offered,
        p50=took[len(took) // 2] * 1e3 if took else 0.0,
        p99=took[int(len(took) * 0.99)] * 1e3 if took else 0.0,
        batch=statistics.fmean(sizes) if sizes else 0.0,
    )
