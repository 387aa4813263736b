"""One cell of the comparison: a rule, a service curve, a load; and what its clients saw."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torchserve.scheduler.errors import QueueFull, WouldBeLate
from torchserve.scheduler.job import Batch, Job
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import RULES, BatchPolicy
from torchserve.scheduler.virtual_time import VirtualLoop

from .rules import Deferred, PickUp

NOISE = 0.05  # standard deviation of a batch's time, as a share of it
QUEUE = 100_000  # jobs: no rule is saved by a short queue


@dataclass(frozen=True)
class Curve:
    """What a batch takes: seconds by its size, up to `largest`. `slo` (s) is what its clients want."""

    name: str
    seconds: Callable[[int], float]
    largest: int
    slo: float
    padded: tuple[int, ...] = ()  # the sizes to which the worker pads; `seconds` knows of them

    @property
    def capacity(self) -> float:
        """The most jobs a second that one worker can do."""
        return max(size / self.seconds(size) for size in range(1, self.largest + 1))


def between(points: Mapping[int, float]) -> Callable[[int], float]:
    """Straight lines through measured sizes."""
    sizes = sorted(points)

    def seconds(size: int) -> float:
        high = next(each for each in sizes if each >= size)
        low = max((each for each in sizes if each <= size), default=high)
        share = (size - low) / (high - low) if high > low else 0.0
        return points[low] + share * (points[high] - points[low])

    return seconds


def padded(seconds: Callable[[int], float], sizes: tuple[int, ...]) -> Callable[[int], float]:
    """A batch of any size costs what the next of `sizes` costs."""
    return lambda size: seconds(next(each for each in sizes if each >= size))


POWERS = (1, 2, 4, 8, 16, 32)
CURVES = (
    Curve("EfficientNet-Lite0, 2 cores", between({1: 0.014, 2: 0.023, 4: 0.045, 8: 0.168}), 8, 0.2),
    Curve("GPU-like, 4 + 0.6 b ms", lambda size: 0.004 + 0.0006 * size, 32, 0.05),
    Curve("convex, 2 b^1.4 ms", lambda size: 0.002 * size**1.4, 16, 0.05),
    Curve("padded to 1, 2, 4, … 32, 2 + b ms", padded(lambda size: 0.002 + 0.001 * size, POWERS), 32, 0.08, POWERS),
)

# name -> (the scheduler's rule, the delay as a share of the SLO)
CONTENDERS: dict[str, tuple[str, float]] = {
    "adaptive": ("adaptive", 1.0),
    "eager": ("eager", 0.0),  # nobody's body is on its way here: what is there goes at once
    "oldest age": ("fixed", 0.2),
    "pick-up": ("pickup", 0.2),
    "pick-up 100 ms": ("pickup", 0.0),  # TorchServe as it comes
    "deferred": ("deferred", 1.0),
}
OTHERS = {"pickup": PickUp, "deferred": Deferred}


@dataclass(frozen=True)
class Seen:
    """Of what was offered after the warm-up: shares, milliseconds and jobs a batch."""

    offered: int
    in_time: float
    refused: float
    p50: float
    p99: float
    batch: float


class _Worker:
    """Runs one batch after the other, each for as long as the curve says, give or take the noise."""

    name = "simulated"
    device = "simulated"

    def __init__(self, scheduler: ModelScheduler, curve: Curve, draw: random.Random) -> None:
        self._scheduler = scheduler
        self._curve = curve
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
        seconds = self._curve.seconds(len(batch.jobs)) * max(0.5, self._draw.gauss(1.0, NOISE))
        self._loop.call_later(seconds, self._done, batch)

    def _done(self, batch: Batch) -> None:
        self._has.popleft()
        if self._has:
            self._begin(self._has[0])
        self._scheduler.finish(batch, [None] * len(batch.jobs))


class _Client:
    """One request: notes how long it took."""

    __slots__ = ("_arrived", "_took")

    def __init__(self, arrived: float, took: list[float]) -> None:
        self._arrived = arrived
        self._took = took

    def chunk(self, item: object) -> None: ...

    def done(self, item: object) -> None:
        self._took.append(asyncio.get_running_loop().time() - self._arrived)

    def fail(self, error: Exception) -> None: ...


@contextmanager
def _known() -> Iterator[None]:
    """The others' rules have names that a policy accepts."""
    RULES.update(OTHERS)
    try:
        yield
    finally:
        for name in OTHERS:
            del RULES[name]


def play(
    contender: str, curve: Curve, arrivals: Iterator[float], seconds: float, *, warmup: float = 3.0,
    workers: int = 1, seed: int = 0,
) -> Seen:  # fmt: skip
    """Let requests come for `warmup` + `seconds` s of virtual time, wait for their ends, and say what they saw."""
    rule, share = CONTENDERS[contender]
    delay = share * curve.slo if share else 0.1

    async def main() -> Seen:
        loop = asyncio.get_running_loop()
        with _known():
            scheduler = ModelScheduler(BatchPolicy(curve.largest, delay, QUEUE, rule, padded_sizes=curve.padded))
        runners = [_Worker(scheduler, curve, random.Random(seed + number)) for number in range(workers)]
        for worker in runners:
            scheduler.attach(worker)
        took: list[float] = []
        early: list[float] = []
        offered = refused = 0
        over = asyncio.Event()
        deadline = curve.slo if (RULES | OTHERS)[rule].uses_latency else None

        def arrive() -> None:
            nonlocal offered, refused
            now = loop.time()
            counts = now >= warmup
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
            if at is None or at > warmup + seconds:
                over.set()
            else:
                loop.call_at(at, arrive)

        following()
        await over.wait()
        await scheduler.idle()
        return summary(took, offered, refused, curve.slo, [size for worker in runners for size in worker.sizes])

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def summary(took: list[float], offered: int, refused: int, slo: float, sizes: list[int]) -> Seen:
    took = sorted(took)
    offered = max(1, offered)
    return Seen(
        offered=offered,
        in_time=sum(each <= slo for each in took) / offered,
        refused=refused / offered,
        p50=took[len(took) // 2] * 1e3 if took else 0.0,
        p99=took[int(len(took) * 0.99)] * 1e3 if took else 0.0,
        batch=statistics.fmean(sizes) if sizes else 0.0,
    )
