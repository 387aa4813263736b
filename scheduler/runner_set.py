"""RunnerSet: the workers of one queue, the batches that each of them has, and when each will be done. Pure.

A worker ("runner") is free or busy. A busy one has the batch that it runs and at most one more, which was prefetched
and begins when the first one ends. A runner that was told to leave keeps its batches and gets no more:

    join ─► free ──assign──► busy ──assign──► busy, one behind
              ▲               │ ▲                │
              └───release─────┘ └────release─────┘        (a runner that has left is forgotten at its last release)
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from .job import Batch, Runner
from .latency_model import LatencyModel

OVERDUE = 2.0  # a batch that has run for so many times its 90th percentile tells nothing of when it will end


class _Busy:
    """The state of a busy runner: its batches, the first of which runs `since` (s), and whether it accepts more."""

    __slots__ = ("accepting", "batches", "since")

    def __init__(self, batch: Batch, since: float, accepting: bool) -> None:
        self.batches = [batch]
        self.since = since
        self.accepting = accepting


class Forecast(NamedTuple):
    """An estimate of when jobs that come now begin, from what the runners have and what batches take.

    The next batch that is formed begins at `free_at` (s), or now if that is past, plus the seconds that the batches
    take which wait before it, `behind`. Batches of the best `size` begin every `interval` seconds then, and end within
    `whole` seconds; `latency` tells of other sizes.
    """

    free_at: float
    behind: float
    size: int
    interval: float
    whole: float
    latency: LatencyModel


class RunnerSet:
    """The set of a queue's runners. `free` maps those that idle to the time (s) since when, longest idle first."""

    __slots__ = ("_busy", "_forecast", "_largest", "_latencies", "_once", "_padded", "free", "with_room_behind")

    def __init__(self, largest: int, padded: Sequence[int] = ()) -> None:
        self.free: OrderedDict[Runner, float] = OrderedDict()
        self.with_room_behind = 0  # busy runners that accept batches and have one only
        self._largest = largest
        self._padded = padded
        self._busy: dict[Runner, _Busy] = {}
        self._once: set[Runner] = set()  # those among the free ones that take a single batch
        self._latencies: dict[str, LatencyModel] = {}  # by kind of device
        self._forecast: Forecast | None = None  # kept until a batch or a runner comes or goes

    @property
    def next_free(self) -> Runner:
        """The runner that has idled longest. At least one must be free."""
        return next(iter(self.free))

    def latency(self, runner: Runner) -> LatencyModel:
        """Return the latency model of the runner's kind of device, which all runners of that kind share."""
        found = self._latencies.get(runner.device)
        if found is None:
            found = self._latencies[runner.device] = LatencyModel(self._largest, self._padded)
        return found

    def forget_latency(self, runner: Runner) -> None:
        """Forget what was learnt of the runner's kind of device."""
        self._latencies.pop(runner.device, None)
        self._forecast = None

    def record(self, runner: Runner, size: int, seconds: float) -> None:
        """Record that a batch of `size` jobs took `seconds` on the runner's kind of device."""
        self.latency(runner).record(size, seconds)
        self._forecast = None

    @property
    def latencies(self) -> Mapping[str, LatencyModel]:
        """What was learnt of each kind of device."""
        return self._latencies

    @property
    def seconds_per_job(self) -> float:
        """Seconds of a runner per job in a batch of the best size, averaged over kinds of device; 0 while unknown."""
        known = [each.median(each.best_size) / each.best_size for each in self._latencies.values() if each.known]
        return sum(known) / len(known) if known else 0.0

    def join(self, runner: Runner, now: float, *, once: bool = False) -> None:
        """Have `runner` accept batches, or with `once` a single one; one that is free already keeps its turn."""
        self._forecast = None
        busy = self._busy.get(runner)
        if busy is not None:
            assert not once, "a runner of a single batch has had it"
            if not busy.accepting:
                busy.accepting = True
                self.with_room_behind += len(busy.batches) == 1
            return
        self.free.setdefault(runner, now)
        if once:
            self._once.add(runner)

    def leave(self, runner: Runner) -> None:
        """Have `runner` accept no more batches."""
        self._forecast = None
        self.free.pop(runner, None)
        self._once.discard(runner)
        busy = self._busy.get(runner)
        if busy is not None and busy.accepting:
            busy.accepting = False
            self.with_room_behind -= len(busy.batches) == 1

    def assign(self, batch: Batch, now: float) -> None:
        """Record that `batch` was handed to its runner: it runs now or, if the runner is busy, next."""
        self._forecast = None
        runner = batch.runner
        self.free.pop(runner, None)
        busy = self._busy.get(runner)
        if busy is None:
            accepting = runner not in self._once
            self._busy[runner] = _Busy(batch, now, accepting)
            self._once.discard(runner)
            self.with_room_behind += accepting
        else:
            self.with_room_behind -= busy.accepting and len(busy.batches) == 1
            busy.batches.append(batch)

    def release(self, batch: Batch, now: float) -> tuple[float, Batch | None]:
        """Record that its runner no longer has `batch`.

        Return the seconds for which the runner's first batch has run, and the batch that begins to run now, if any.
        """
        self._forecast = None
        busy = self._busy[batch.runner]
        ran = busy.batches[0] is batch
        busy.batches.remove(batch)
        seconds = now - busy.since
        if not busy.batches:
            del self._busy[batch.runner]
            if busy.accepting:
                self.free[batch.runner] = now
                self.with_room_behind -= 1
            return seconds, None
        self.with_room_behind += busy.accepting and len(busy.batches) == 1
        if ran:
            busy.since = now
            return seconds, busy.batches[0]
        return seconds, None

    def free_at(self, runner: Runner, now: float) -> float:
        """Return the time (s) at which `runner` can be expected to begin another batch."""
        at, behind = self._free_at(runner)
        return max(now, at) + behind

    def _free_at(self, runner: Runner) -> tuple[float, float]:
        """Return when (s) the batch that `runner` runs will have ended, and the seconds of those behind it."""
        busy = self._busy.get(runner)
        if busy is None:
            return -math.inf, 0.0
        latency = self.latency(runner)
        running, *behind = busy.batches
        return busy.since + latency.median(len(running.jobs)), sum(
            [latency.median(len(batch.jobs)) for batch in behind]
        )

    def forecast(self, now: float) -> Forecast | None:
        """Return when jobs that come now can be expected to begin; None while no runner accepts batches, or nothing is
        known of what they take.

        Each request with a deadline asks, and the answer changes with the batches alone, so that it is kept.
        """
        if self._forecast is None:
            accepting = list(self.accepting_runners())
            if not accepting:
                return None
            runner = min(accepting, key=lambda each: self.free_at(each, now))
            latency = self.latency(runner)
            if not latency.known:
                return None
            size = latency.best_size
            interval = latency.median(size) / len(accepting)
            self._forecast = Forecast(*self._free_at(runner), size, interval, latency.p90(size), latency)
        return self._forecast

    def next_to_finish(self, now: float) -> Runner | None:
        """Return the busy runner without a prefetched batch that will be done first; None if there is no such runner.

        A runner whose batch is overdue is not counted: nothing is known of when it will be done.
        """
        best, best_at = None, 0.0
        for runner, busy in self._busy.items():
            if busy.accepting and len(busy.batches) == 1:
                latency = self.latency(runner)
                size = len(busy.batches[0].jobs)
                at = busy.since + latency.median(size)
                if now - busy.since <= OVERDUE * latency.p90(size) and (best is None or at < best_at):
                    best, best_at = runner, at
        return best

    def accepting_runners(self) -> Iterator[Runner]:
        """Iterate over all runners that accept batches, free or busy."""
        yield from self.free
        for runner, busy in self._busy.items():
            if busy.accepting:
                yield runner
