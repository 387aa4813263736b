"""Crew: the runners of one queue, what each of them has, and when it will be done with it. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from .job import Batch, Runner
from .latency_model import Costs

OVERDUE = 2.0  # a batch that takes this many times what most take tells nothing of when it will end


class _Load:
    """What a busy runner has: the batch that it runs `since`, and one behind it at most."""

    __slots__ = ("batches", "since", "stays")

    def __init__(self, batch: Batch, since: float) -> None:
        self.batches = [batch]
        self.since = since
        self.stays = True  # it takes further batches


class Crew:
    """`free` has those that idle, longest first, each since a time (s)."""

    __slots__ = ("_busy", "_costs", "_largest", "_padded", "free")

    def __init__(self, largest: int, padded: Sequence[int] = ()) -> None:
        self.free: OrderedDict[Runner, float] = OrderedDict()
        self._largest = largest
        self._padded = padded
        self._busy: dict[Runner, _Load] = {}
        self._costs: dict[str, Costs] = {}

    @property
    def next_free(self) -> Runner:
        return next(iter(self.free))

    def costs(self, runner: Runner) -> Costs:
        """What is known of batches on its kind of device."""
        found = self._costs.get(runner.device)
        if found is None:
            found = self._costs[runner.device] = Costs(self._largest, self._padded)
        return found

    @property
    def pace(self) -> float:
        """Seconds of a runner that a job takes in a batch of the size that pays; 0 while nothing is known."""
        known = [costs.typical(size) / size for costs in self._costs.values() if (size := costs.known and costs.ideal)]
        return sum(known) / len(known) if known else 0.0

    def join(self, runner: Runner, now: float) -> None:
        """It takes batches; a free one keeps its turn."""
        load = self._busy.get(runner)
        if load is not None:
            load.stays = True
        else:
            self.free.setdefault(runner, now)

    def leave(self, runner: Runner) -> None:
        """It takes no more."""
        self.free.pop(runner, None)
        load = self._busy.get(runner)
        if load is not None:
            load.stays = False

    def give(self, batch: Batch, now: float) -> None:
        """Its runner has it from now on."""
        runner = batch.runner
        self.free.pop(runner, None)
        load = self._busy.get(runner)
        if load is None:
            self._busy[runner] = _Load(batch, now)
        else:
            load.batches.append(batch)

    def end(self, batch: Batch, now: float) -> tuple[float, Batch | None]:
        """Its runner no longer has it: the seconds for which it ran it, and the batch which that begins now."""
        load = self._busy[batch.runner]
        first = load.batches[0] is batch
        load.batches.remove(batch)
        seconds = now - load.since
        if not load.batches:
            del self._busy[batch.runner]
            if load.stays:
                self.free[batch.runner] = now
        elif first:
            load.since = now
            return seconds, load.batches[0]
        return seconds, None

    def done_at(self, runner: Runner, now: float) -> float:
        """When it can be expected to begin another batch."""
        load = self._busy.get(runner)
        if load is None:
            return now
        costs = self.costs(runner)
        running, *behind = load.batches
        at = max(now, load.since + costs.typical(len(running.jobs)))
        return at + sum(costs.typical(len(batch.jobs)) for batch in behind)

    def soonest(self, now: float) -> Runner | None:
        """Of the busy ones with room for a batch behind theirs the one that will be done first."""
        best, best_at = None, 0.0
        for runner, load in self._busy.items():
            if load.stays and len(load.batches) == 1:
                costs = self.costs(runner)
                size = len(load.batches[0].jobs)
                at = load.since + costs.typical(size)
                if now - load.since <= OVERDUE * costs.upper(size) and (best is None or at < best_at):
                    best, best_at = runner, at
        return best

    def staying(self) -> Iterator[Runner]:
        """All that take batches."""
        yield from self.free
        for runner, load in self._busy.items():
            if load.stays:
                yield runner
