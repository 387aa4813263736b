"""RunnerSet: the workers of one queue, the batches that each of them has, and when each will be done. Pure.

A worker ("runner") is free or busy. A busy one has the batch that it runs and at most one more, which was prefetched
and begins when the first one ends. A runner that was told to leave keeps its batches and gets no more:

    join ─► free ──assign──► busy ──assign──► busy, one behind
              ▲               │ ▲                │
              └───release─────┘ └────release─────┘        (a runner that has left is forgotten at its last release)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

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


class RunnerSet:
    """The set of a queue's runners. `free` maps those that idle to the time (s) since when, longest idle first."""

    __slots__ = ("_busy", "_largest", "_latencies", "_once", "_padded", "free", "with_room_behind")

    def __init__(self, largest: int, padded: Sequence[int] = ()) -> None:
        self.free: OrderedDict[Runner, float] = OrderedDict()
        self.with_room_behind = 0  # busy runners that accept batches and have one only
        self._largest = largest
        self._padded = padded
        self._busy: dict[Runner, _Busy] = {}
        self._once: set[Runner] = set()  # those among the free ones that take a single batch
        self._latencies: dict[str, LatencyModel] = {}  # by kind of device

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
        self.free.pop(runner, None)
        self._once.discard(runner)
        busy = self._busy.get(runner)
        if busy is not None and busy.accepting:
            busy.accepting = False
            self.with_room_behind -= len(busy.batches) == 1

    def assign(self, batch: Batch, now: float) -> None:
        """Record that `batch` was handed to its runner: it runs now or, if the runner is busy, next."""
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
        busy = self._busy.get(runner)
        if busy is None:
            return now
        latency = self.latency(runner)
        running, *behind = busy.batches
        at = max(now, busy.since + latency.median(len(running.jobs)))
        return at + sum(latency.median(len(batch.jobs)) for batch in behind)

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
