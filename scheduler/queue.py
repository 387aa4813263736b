"""JobQueue: the jobs that wait, in the order in which they are served. Pure.

A job's place is its arrival plus SECONDS_PER_LEVEL times its priority. So a job is overtaken only by jobs of a better
priority that came at most that much later, and never starves.

Jobs of one priority are kept in a level of their own, ordered by `seq`, from which any job can be removed at once.
Almost always there is only the default level; then nothing has to be merged. Expiry times are kept in a heap. The
entry of a job that left the queue by another way stays in it until its time has come, or until such entries are the
majority or the queue is empty, and all of them are swept out: to look at each job again as it leaves would cost more
than a wakeup now and then that finds nothing to do.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from .job import Job

SECONDS_PER_LEVEL = 1.0  # s by which one level of priority puts a job ahead of the next
_SPARE_ENTRIES = 64  # stale entries of the expiry heap that are never worth a sweep

_Level = OrderedDict[int, Job]  # by `seq`


class JobQueue:
    """A priority queue of jobs. They must be added in order of `arrived`; removing one costs at most a logarithm.

    `size` is the number of all jobs, `exclusive` of those that must have a batch of their own, `with_deadline` of those
    that have a deadline, and no job expires before the first of `expiries`, a heap. These are fields, not calls, as
    each batch asks for them several times; the queue alone sets them.
    """

    __slots__ = ("_default_level", "_expires", "_levels", "exclusive", "expiries", "size", "with_deadline")

    def __init__(self, *, expires: bool = True) -> None:
        """Queue jobs. Unless it `expires`, somebody else removes the jobs that have waited for too long."""
        self._expires = expires
        self._default_level: _Level = OrderedDict()
        self._levels: dict[int, _Level] = {0: self._default_level}  # by priority
        self.size = 0
        self.exclusive = 0
        self.with_deadline = 0
        self.expiries: list[tuple[float, int, Job]] = []  # a heap of (expires, seq, job)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Job]:
        """Iterate over the jobs in the order in which they will be served."""
        if len(self._levels) == 1:
            return iter(self._default_level.values())
        return heapq.merge(*(level.values() for level in self._levels.values()), key=_place)

    @property
    def oldest_arrival(self) -> float:
        """The arrival (s) of the job that waits longest. The queue must not be empty."""
        if len(self._levels) == 1:
            return next(iter(self._default_level.values())).arrived
        return min(next(iter(level.values())).arrived for level in self._levels.values() if level)

    @property
    def last(self) -> Job:
        """The job that is served last. The queue must not be empty."""
        return max((next(reversed(level.values())) for level in self._levels.values() if level), key=_place)

    def count_before(self, job: Job) -> int:
        """Return about how many jobs a new job would wait behind."""
        if len(self._levels) == 1:
            return self.size if job.priority >= 0 else 0
        return sum(len(level) for each, level in self._levels.items() if each <= job.priority)

    def count_before_exclusive(self, most: int) -> int:
        """Return how many jobs stand before the first exclusive one, counted up to `most`."""
        return next((before for before, job in enumerate(self) if job.exclusive or before == most), most)

    def add(self, job: Job) -> None:
        """Queue a job behind all others of its priority."""
        level = self._levels.setdefault(job.priority, OrderedDict()) if job.priority else self._default_level
        level[job.seq] = job
        self.size += 1
        self.exclusive += job.exclusive
        if job.deadline is not None:
            self.with_deadline += 1
        if job.expires is not None and self._expires:
            heap = self.expiries
            if len(heap) > 2 * self.size + _SPARE_ENTRIES:
                self._sweep_expiries()
            else:
                heapq.heappush(heap, (job.expires, job.seq, job))

    def requeue(self, jobs: tuple[Job, ...]) -> None:
        """Put jobs that were taken and did not run in front of all others of their priority, in their old order."""
        for job in reversed(jobs):
            self.add(job)
            self._levels[job.priority].move_to_end(job.seq, last=False)

    def take(self, size: int) -> tuple[Job, ...]:
        """Remove and return the first `size` jobs. The queue must hold as many."""
        if len(self._levels) == 1:
            level = self._default_level
            first = level.popitem(last=False)[1]
            jobs = (first,) if size == 1 else (first, *[level.popitem(last=False)[1] for _ in range(size - 1)])
            self.size -= size
            if self.exclusive or self.with_deadline:
                self.exclusive -= sum([job.exclusive for job in jobs])
                self.with_deadline -= sum([job.deadline is not None for job in jobs])
            if not self.size:
                self.expiries.clear()
            return jobs
        jobs = tuple(islice(iter(self), size))
        for job in jobs:
            self.remove(job)
        return jobs

    def remove(self, job: Job) -> bool:
        """Remove a job; return False if it isn't in the queue."""
        if not self._holds(job):
            return False
        level = self._levels[job.priority]
        del level[job.seq]
        if not level and level is not self._default_level:
            del self._levels[job.priority]
        self.size -= 1
        self.exclusive -= job.exclusive
        self.with_deadline -= job.deadline is not None
        if not self.size:
            self.expiries.clear()
        return True

    def clear(self) -> list[Job]:
        """Remove and return all jobs, in order."""
        left = list(self)
        self._default_level.clear()
        self._levels = {0: self._default_level}
        self.expiries.clear()
        self.size = self.exclusive = self.with_deadline = 0
        return left

    @property
    def next_expiry(self) -> float | None:
        """A time (s) before which no job expires; None if no job ever does."""
        return self.expiries[0][0] if self.expiries else None

    def expire(self, now: float) -> list[Job]:
        """Remove and return the jobs whose `expires` has passed, in the order of that."""
        heap = self.expiries
        expired: list[Job] = []
        while heap and heap[0][0] <= now:
            job = heapq.heappop(heap)[2]
            if self.remove(job):
                expired.append(job)
        return expired

    def _holds(self, job: Job) -> bool:
        level = self._levels.get(job.priority)
        return level is not None and level.get(job.seq) is job

    def _sweep_expiries(self) -> None:
        """Keep the entries of the jobs that are here."""
        self.expiries[:] = [(job.expires, job.seq, job) for job in self if job.expires is not None]
        heapq.heapify(self.expiries)


def _place(job: Job) -> tuple[float, int]:
    return job.arrived + SECONDS_PER_LEVEL * job.priority, job.seq
