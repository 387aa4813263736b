"""Turns: shares that take turns by their weights, in virtual time. Pure.

Virtual time is what a share of weight 1 would have been served by now, could service be divided to the drop. A share
has a place in it, `at`: what it has been served, by its weight. The share that is furthest behind is next, and
`cost / weight` further on after that.

    a, weight 1    at 0 ──────────► 1 ──────────► 2         served: b a b b a b …
    b, weight 2    at 0 ───► 0.5 ───► 1 ───► 1.5

A share without a job begins at the virtual time that it is when a job comes: it has no claim to the past, but the next
turn. A share whose jobs are all served, and which is ahead of the virtual time, rests until that has come up to it, so
that nobody gets ahead by sending one job after the other; then it is forgotten. When no job waits at all, everything is
forgotten: all who asked have had what they asked for.

The virtual time is the mean place of the active shares, those that wait or rest, by weight. A service moves the mean by
what it costs over all weights, and one that turns out to have cost less takes that back, so that the mean needs no
clock and can't run away from the shares. As the shares that rest are in it, it moves on however many new ones join, and
a share that waits is passed over by each new one at most once.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import TypeAlias

from .job import Job
from .queue import JobQueue

_SPARE_ENTRIES = 64  # stale entries of the heap of backlogs that are never worth a sweep

_Line: TypeAlias = (
    "list[tuple[float, int, Share]]"  # ascending; the number is the share's own, so no shares are compared
)


class Share:
    """A queue of jobs that are served in turn with those of other shares: a client's, or a group's.

    `at` is its place in virtual time; `waiting` is how many of its jobs wait, and `backlog` what these cost together.
    """

    __slots__ = (
        "at", "backlog", "group", "jobs", "line", "name", "number", "ranked", "turns", "waiting", "weight", "within"
    )  # fmt: skip

    def __init__(
        self,
        name: str | None,
        weight: float,
        turns: Turns,
        *,
        group: Share | None = None,
        within: Turns | None = None,
    ) -> None:
        """Name a share that takes `turns` with others: one of a `group`, or a group itself, whose jobs are `within`."""
        self.name = name
        self.weight = weight
        self.turns = turns
        self.group = group
        self.within = within
        self.jobs = JobQueue(expires=False)
        self.at = 0.0
        self.number = 0
        self.line: _Line | None = None
        self.waiting = 0
        self.backlog = 0
        self.ranked = -1.0  # the measure of its latest entry in the heap of backlogs

    @property
    def measure(self) -> float:
        """How long its backlog is for its weight."""
        return self.backlog / self.weight

    @property
    def last(self) -> Job:
        """The job that can best be done without: the last of the client that has most waiting. There must be one."""
        return self.jobs.last if self.within is None else self.within.longest.last

    def in_order(self) -> Iterator[Job]:
        """Iterate over its jobs in the order in which they will be served."""
        return iter(self.jobs if self.within is None else self.within)


class Turns:
    """The shares that have jobs waiting, or rest, by name."""

    __slots__ = ("_backlogs", "_numbers", "_resting", "_sum", "_waiting", "_weight", "shares")

    def __init__(self) -> None:
        self.shares: dict[str | None, Share] = {}
        self._waiting: _Line = []
        self._resting: _Line = []
        self._weight = 0.0  # of all shares
        self._sum = 0.0  # of their places, each times its weight
        self._numbers = 0
        self._backlogs: list[tuple[float, int, Share]] = []  # a heap of (-measure, number, share), see `longest`

    def __iter__(self) -> Iterator[Job]:
        """Iterate over the jobs in the order in which they will be served. Each costs a logarithm of the shares."""
        begun: list[tuple[float, int, float, Iterator[Job]]] = []  # a heap of (at, number, weight, what is left)
        line = iter(self._waiting)
        ahead = next(line, None)
        while begun or ahead is not None:
            if ahead is not None and (not begun or ahead[:2] < begun[0][:2]):
                at, number, share = ahead
                weight, jobs = share.weight, share.in_order()
                ahead = next(line, None)
            else:
                at, number, weight, jobs = heappop(begun)
            job = next(jobs, None)
            if job is not None:
                yield job
                heappush(begun, (at + job.cost / weight, number, weight, jobs))

    @property
    def time(self) -> float:
        """The virtual time."""
        return self._sum / self._weight if self.shares else 0.0

    @property
    def first(self) -> Share:
        """The share whose turn it is. There must be one."""
        return self._waiting[0][2]

    @property
    def longest(self) -> Share:
        """The share with the longest backlog for its weight. There must be one.

        Entries of the heap are as of when they were made: one that says too much is mended when it comes up.
        """
        heap = self._backlogs
        while True:
            said, number, share = heap[0]
            if share.ranked != -said or not share.waiting:
                heappop(heap)  # of a share that has a later entry, or nothing waiting
            elif share.measure == share.ranked:
                return share
            else:
                share.ranked = share.measure
                heapreplace(heap, (-share.ranked, number, share))

    def waiting(self) -> Iterator[Share]:
        """Iterate over the shares that have jobs waiting."""
        return (share for _, _, share in self._waiting)

    # ---- what happened

    def added(self, share: Share, cost: int) -> None:
        """Note that one more job waits in `share`, which is one of `shares` or new."""
        share.waiting += 1
        share.backlog += cost
        if share.waiting == 1:
            if share.line is None:
                share.at = self.time
                self.shares[share.name] = share
                self._numbers += 1
                share.number = self._numbers
                self._weight += share.weight
                self._sum += share.weight * share.at
            self._place(share, self._waiting, share.at)
            share.ranked = -1.0
        if share.measure > share.ranked:
            share.ranked = share.measure
            heap = self._backlogs
            if len(heap) > 2 * len(self._waiting) + _SPARE_ENTRIES:
                heap[:] = [(-each.ranked, each.number, each) for each in self.waiting()]
                heapify(heap)
            else:
                heappush(heap, (-share.ranked, share.number, share))

    def served(self, share: Share, cost: int) -> None:
        """Note that a job of `share` has left to be served."""
        self._less(share, cost, cost)

    def left(self, share: Share, cost: int) -> None:
        """Note that a job of `share` has left without being served."""
        self._less(share, cost, 0)

    def settle(self, share: Share, cost: int) -> None:
        """Make good that the jobs of `share` that were served have cost so much less than it was charged with."""
        if share.line is not None:
            self._sum -= cost
            self._place(share, share.line, share.at - cost / share.weight)
            self._forget_rested()

    # ---- within

    def _less(self, share: Share, cost: int, charged: int) -> None:
        share.waiting -= 1
        share.backlog -= cost
        if not share.waiting or charged:
            self._sum += charged
            line = self._waiting if share.waiting else self._resting
            self._place(share, line, share.at + charged / share.weight)
        if self._waiting:
            self._forget_rested()
        else:
            self._forget_all()

    def _place(self, share: Share, line: _Line, at: float) -> None:
        """Have `share` wait, or rest, at this place."""
        old = share.line
        if old is not None:
            del old[bisect_left(old, (share.at, share.number, share))]
        share.at, share.line = at, line
        insort(line, (at, share.number, share))

    def _forget_rested(self) -> None:
        """Forget the shares at rest that the virtual time has come up to."""
        resting = self._resting
        while resting and resting[0][0] <= self.time:
            _, _, share = resting.pop(0)
            share.line = None
            del self.shares[share.name]
            self._weight -= share.weight
            self._sum -= share.weight * share.at

    def _forget_all(self) -> None:
        for share in self.shares.values():
            share.line = None
        self.shares.clear()
        self._resting.clear()
        self._backlogs.clear()
        self._weight = self._sum = 0.0
