"""JobQueue: the jobs that wait, in the order in which they are served. Pure.

A job's place goes by its arrival and its priority: each level counts as LEVEL seconds of it. So a job of a lower
priority is overtaken only by those that came at most that much later, and never starves.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from .job import Job

LEVEL = 1.0  # seconds by which one level of priority puts a job ahead of the next
_SPARE = 64


class JobQueue:
    """Jobs are added in order of `arrived`. Any of them may leave at any time at no more than a logarithm's cost."""

    __slots__ = ("_alone", "_expiries", "_levels", "_plain", "_size", "hurried")

    def __init__(self) -> None:
        # Each level is ordered by `seq`: its first is the oldest, and one that leaves does so at once.
        self._plain: OrderedDict[int, Job] = OrderedDict()
        self._levels: dict[int, OrderedDict[int, Job]] = {0: self._plain}
        self._size = 0
        self._alone = 0
        # A heap of (expires, seq, job). Those of jobs that left stay until they surface or `_watch` sweeps.
        self._expiries: list[tuple[float, int, Job]] = []
        self.hurried = 0  # jobs with a deadline

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Job]:
        if len(self._levels) == 1:
            return iter(self._plain.values())
        return heapq.merge(*(level.values() for level in self._levels.values()), key=_place)

    @property
    def oldest(self) -> float:
        """When the one that waits longest arrived."""
        if len(self._levels) == 1:
            return next(iter(self._plain.values())).arrived
        return min(next(iter(level.values())).arrived for level in self._levels.values() if level)

    @property
    def alone(self) -> bool:
        """One of them runs alone."""
        return self._alone > 0

    def before(self, priority: int) -> int:
        """About how many of them a newcomer of this priority would be behind."""
        return sum(len(level) for each, level in self._levels.items() if each <= priority)

    def add(self, job: Job) -> None:
        level = self._levels.setdefault(job.priority, OrderedDict()) if job.priority else self._plain
        level[job.seq] = job
        self._count(job, 1)
        if job.expires is not None:
            self._watch(job.expires, job)

    def put_back(self, jobs: tuple[Job, ...]) -> None:
        """They were taken, and did not run after all: each is first of its level again."""
        for job in reversed(jobs):
            self.add(job)
            self._levels[job.priority].move_to_end(job.seq, last=False)

    def take(self, size: int) -> tuple[Job, ...]:
        """The first `size` jobs, which leave."""
        if len(self._levels) == 1:
            plain = self._plain
            jobs = tuple([plain.popitem(last=False)[1] for _ in range(size)])
            for job in jobs:
                self._count(job, -1)
            return jobs
        jobs = tuple(islice(iter(self), size))
        for job in jobs:
            self.remove(job)
        return jobs

    def remove(self, job: Job) -> bool:
        """Take out this one. False if it isn't here."""
        level = self._levels.get(job.priority)
        if level is None or level.get(job.seq) is not job:
            return False
        del level[job.seq]
        if not level and level is not self._plain:
            del self._levels[job.priority]
        self._count(job, -1)
        return True

    def clear(self) -> list[Job]:
        """Empty it; what was in it, in order."""
        left = list(self)
        self._plain.clear()
        self._levels = {0: self._plain}
        self._expiries.clear()
        self._size = self._alone = self.hurried = 0
        return left

    def ahead_of_alone(self, most: int) -> int:
        """Jobs before the first one that runs alone, counted up to `most`."""
        return next((ahead for ahead, job in enumerate(self) if job.alone or ahead == most), most)

    @property
    def next_expiry(self) -> float | None:
        """A time before which none of them expires; exact right after `expire`."""
        return self._expiries[0][0] if self._expiries else None

    def expire(self, now: float) -> list[Job]:
        """Those whose time has passed leave, in order of that."""
        heap = self._expiries
        expired: list[Job] = []
        while heap:
            expires, _, job = heap[0]
            if self._holds(job):
                if expires > now:
                    break
                self.remove(job)
                expired.append(job)
            heapq.heappop(heap)
        return expired

    def _holds(self, job: Job) -> bool:
        level = self._levels.get(job.priority)
        return level is not None and level.get(job.seq) is job

    def _count(self, job: Job, step: int) -> None:
        self._size += step
        if job.alone:
            self._alone += step
        if job.deadline is not None:
            self.hurried += step

    def _watch(self, expires: float, job: Job) -> None:
        heap = self._expiries
        if len(heap) > 2 * self._size + _SPARE:
            heap[:] = [entry for entry in heap if self._holds(entry[2])]
            heapq.heapify(heap)
        heapq.heappush(heap, (expires, job.seq, job))


def _place(job: Job) -> tuple[float, int]:
    return job.arrived + LEVEL * job.priority, job.seq
