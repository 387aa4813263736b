"""Batcher: the queue of one model version and the decision when which jobs go to which worker.

Pure and synchronous. Tell it what happened, then ask `collect(now)` what to do and `wakeup()` when to ask again. Every
verb takes `now`, whether this batcher needs it or not, so that another kind of batcher can stand in its place.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from typing import NamedTuple, TypeAlias

from .errors import LaneClosed, QueueFull
from .job import Batch, Cause, Job, Runner
from .policy import BatchPolicy
from .rules import RULES

_SPARE_EXPIRIES = 64


class Run(NamedTuple):
    """Hand `batch` to `runner`; it counts as busy until `ready`."""

    runner: Runner
    batch: Batch


class Expire(NamedTuple):
    """`job` waited in the queue past its deadline and has left it."""

    job: Job


Effect: TypeAlias = Run | Expire


class Batcher:
    """Bounded FIFO and free workers. Jobs must be offered in order of `arrived`; times in seconds of one clock."""

    __slots__ = (
        "_alone", "_announced", "_batches", "_closed", "_expiries", "_free", "_limit", "_offered", "_queue",
        "_release_at", "_rule", "_size",
    )  # fmt: skip

    def __init__(self, policy: BatchPolicy) -> None:
        self._size = policy.batch_size
        self._limit = policy.queue_size
        self._rule = RULES[policy.rule](policy.batch_size, policy.max_batch_delay)
        # Ordered by `seq`, so that the first is the oldest and a cancelled job leaves at once, wherever it stands.
        self._queue: OrderedDict[int, Job] = OrderedDict()
        self._alone = 0
        # A heap of (expires, seq). Those of jobs that left the queue stay until they surface or `_watch` sweeps.
        self._expiries: list[tuple[float, int]] = []
        self._announced: list[float] = []
        self._free: OrderedDict[Runner, None] = OrderedDict()
        self._release_at = math.inf
        self._offered = 0
        self._batches = 0
        self._closed = False

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def announced(self) -> int:
        return len(self._announced)

    def offer(self, job: Job, now: float) -> None:
        """Queue a job. Raises LaneClosed, QueueFull."""
        if self._closed:
            raise LaneClosed("the queue is closed")
        queue = self._queue
        if len(queue) >= self._limit:
            raise QueueFull(self._limit)
        self._offered = job.seq = self._offered + 1
        queue[job.seq] = job
        if job.alone:
            self._alone += 1
        if job.expires is not None:
            self._watch(job.expires, job.seq)

    def announce(self, now: float) -> None:
        """A request for this queue has its head here and its body still arriving."""
        self._announced.append(now)

    def retract(self, now: float) -> None:
        """One announced request has been offered, or will not come. Raises ValueError if none is announced.

        Which one isn't said, and the youngest is assumed: a slow body that stays then looks old, and `Eager` stops
        waiting for it.
        """
        if not self._announced:
            raise ValueError("retract without announce")
        self._announced.pop()

    def ready(self, runner: Runner, now: float) -> None:
        """`runner` is free, from now on if it wasn't already."""
        self._free.setdefault(runner, None)

    def gone(self, runner: Runner, now: float) -> None:
        """`runner` takes no more batches until it is `ready` again."""
        self._free.pop(runner, None)

    def cancel(self, job: Job, now: float) -> None:
        """Nobody wants the answer any more: a queued job leaves the queue, one that runs is only marked."""
        job.cancelled = True
        if self._queue.get(job.seq) is job:
            self._remove(job)

    def flush(self, now: float) -> list[Job]:
        """Empty the queue; returns what was in it, oldest first."""
        left = list(self._queue.values())
        self._queue.clear()
        self._expiries.clear()
        self._alone = 0
        self._release_at = math.inf
        return left

    def close(self, now: float) -> None:
        """Refuse further jobs; those that are queued stay."""
        self._closed = True

    def collect(self, now: float) -> list[Effect]:
        """What to do now, batches first. Each effect is returned once; carry all of them out."""
        expired = self._expire(now) if self._expiries else ()
        self._release_at = math.inf
        effects: list[Effect] = []
        while self._queue and self._free:
            size, verdict = self._decide(now)
            if not isinstance(verdict, Cause):
                self._release_at = verdict
                break
            runner, _ = self._free.popitem(last=False)
            self._batches += 1
            effects.append(Run(runner, Batch(self._batches, self._take(size, now), verdict, now, runner)))
        effects += expired
        return effects

    def wakeup(self) -> float | None:
        """When to `collect` again if nothing happens before; None: not at all. Holds right after `collect`."""
        at = self._release_at
        if self._expiries:
            at = min(at, self._expiries[0][0])
        return None if at == math.inf else at

    def _decide(self, now: float) -> tuple[int, Cause | float]:
        queued = len(self._queue)
        if self._alone:
            ahead = self._ahead_of_alone()
            if ahead < self._size:
                return ahead or 1, Cause.ALONE
        announced = self._announced
        oldest = next(iter(self._queue.values())).arrived
        verdict = self._rule.decide(queued, oldest, len(announced), announced[-1] if announced else now, now)
        return min(queued, self._size), verdict

    def _ahead_of_alone(self) -> int:
        """Jobs before the first one that runs alone, counted up to a full batch."""
        jobs = enumerate(self._queue.values())
        return next(ahead for ahead, job in jobs if job.alone or ahead == self._size)

    def _take(self, size: int, now: float) -> tuple[Job, ...]:
        queue = self._queue
        jobs = tuple([queue.popitem(last=False)[1] for _ in range(size)])
        for job in jobs:
            job.started = now
        if jobs[0].alone:
            self._alone -= 1
        return jobs

    def _remove(self, job: Job) -> None:
        del self._queue[job.seq]
        if job.alone:
            self._alone -= 1

    def _watch(self, expires: float, seq: int) -> None:
        heap, queue = self._expiries, self._queue
        if len(heap) > 2 * len(queue) + _SPARE_EXPIRIES:
            heap[:] = [entry for entry in heap if entry[1] in queue]
            heapq.heapify(heap)
        heapq.heappush(heap, (expires, seq))

    def _expire(self, now: float) -> list[Expire]:
        heap, queue = self._expiries, self._queue
        expired: list[Expire] = []
        while heap:
            expires, seq = heap[0]
            job = queue.get(seq)
            if job is not None:
                if expires > now:
                    break
                self._remove(job)
                expired.append(Expire(job))
            heapq.heappop(heap)
        return expired
