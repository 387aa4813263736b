"""Batcher: the queue of one model version and the decision when which jobs go to which worker.

Pure and synchronous. Tell it what happened, then ask `collect(now)` what to do and `wakeup()` when to ask again. Every
verb takes `now`, whether this batcher needs it or not, so that another kind of batcher can stand in its place.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

from .adaptive import may_go_ahead
from .deadlines import in_time, too_late
from .errors import LaneClosed, QueueFull, WouldBeLate
from .job import Batch, Cause, Job, Runner
from .latency_model import Costs
from .policy import RULES, BatchPolicy
from .queue import JobQueue
from .runner_set import Crew


class Run(NamedTuple):
    """Hand `batch` to `runner`: it runs now or, if `ahead`, once the one before it has ended."""

    runner: Runner
    batch: Batch
    ahead: bool = False


class Expire(NamedTuple):
    """`job` waited in the queue past its time and has left it."""

    job: Job


class Refuse(NamedTuple):
    """`job` could not be answered in time any more and has left the queue."""

    job: Job
    error: WouldBeLate


Effect: TypeAlias = Run | Expire | Refuse


class Batcher:
    """Bounded queue and workers. Jobs must be offered in order of `arrived`; times in seconds of one clock."""

    __slots__ = (
        "_announced", "_batches", "_closed", "_crew", "_largest", "_limit", "_offered", "_queue", "_refused_at",
        "_release_at", "_rule",
    )  # fmt: skip

    def __init__(self, policy: BatchPolicy) -> None:
        self._largest = policy.batch_size
        self._limit = policy.queue_size
        self._rule = RULES[policy.rule](policy.batch_size, policy.max_batch_delay)
        self._queue = JobQueue()
        self._crew = Crew(policy.batch_size, policy.padded_sizes)
        self._announced: list[float] = []
        self._release_at = math.inf
        self._refused_at = -math.inf
        self._offered = 0
        self._batches = 0
        self._closed = False

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def free(self) -> int:
        return len(self._crew.free)

    @property
    def announced(self) -> int:
        return len(self._announced)

    @property
    def pace(self) -> float:
        return self._crew.pace

    # ---- what happens

    def offer(self, job: Job, now: float) -> None:
        """Queue a job. Raises LaneClosed, QueueFull, WouldBeLate."""
        if self._closed:
            raise LaneClosed("the queue is closed")
        if len(self._queue) >= self._limit:
            raise QueueFull(self._limit)
        if self._rule.learns and (job.deadline is not None or job.expires is not None):
            late = too_late(job, self._queue, self._crew, now)
            if late is not None:
                self._refused_at = now
                raise late
        self._offered = job.seq = self._offered + 1
        self._queue.add(job)
        self._rule.arrived(now)

    def announce(self, now: float) -> None:
        """A request for this queue has its head here and its body still arriving."""
        self._announced.append(now)

    def retract(self, now: float) -> None:
        """One announced request has been offered, or will not come. Raises ValueError if none is announced.

        Which one isn't said, and the youngest is assumed: a slow body that stays then looks old, and nobody waits for
        it any more.
        """
        if not self._announced:
            raise ValueError("retract without announce")
        self._announced.pop()

    def ready(self, runner: Runner, now: float) -> None:
        """`runner` takes batches, from now on if it didn't already; if it runs one, once that has ended."""
        self._crew.join(runner, now)

    def gone(self, runner: Runner, now: float) -> None:
        """`runner` takes no more batches until it is `ready` again; those it has may still end."""
        self._crew.leave(runner)

    def ended(self, batch: Batch, now: float, seconds: float | None = None, *, worked: bool) -> Batch | None:
        """A batch that was handed over is done with; `worked` if what it took tells what batches take: `seconds`, or
        else the time since it began.

        Returns the one that its runner begins now, if it had been given another.
        """
        passed, begins = self._crew.end(batch, now)
        if worked and self._rule.learns and not batch.jobs[0].alone:
            self._crew.costs(batch.runner).record(len(batch.jobs), passed if seconds is None else seconds)
        self._rule.ended(now)
        if begins is not None:
            begins.begin(now)
        return begins

    def put_back(self, batch: Batch, now: float) -> None:
        """`batch` was handed over ahead and will never begin: its jobs wait again, in front."""
        self._crew.end(batch, now)
        self._queue.put_back(tuple([job for job in batch.jobs if not job.cancelled]))

    def cancel(self, job: Job, now: float) -> None:
        """Nobody wants the answer any more: a queued job leaves the queue, one that was handed over is only marked."""
        job.cancelled = True
        self._queue.remove(job)

    def flush(self, now: float) -> list[Job]:
        """Empty the queue; returns what was in it, in the order in which it would have been served."""
        self._release_at = math.inf
        return self._queue.clear()

    def close(self, now: float) -> None:
        """Refuse further jobs; those that are queued stay."""
        self._closed = True

    # ---- what to do

    def collect(self, now: float) -> list[Effect]:
        """What to do now, batches first. Each effect is returned once; carry all of them out."""
        queue, crew = self._queue, self._crew
        bad: list[Effect] = [Expire(job) for job in queue.expire(now)]
        self._release_at = math.inf
        effects: list[Effect] = []
        while queue:
            ahead = not crew.free
            runner = self._ahead(now) if ahead else crew.next_free
            if runner is None:
                break
            costs = crew.costs(runner)
            size, verdict = (self._size_ahead(costs), Cause.FULL) if ahead else self._decide(runner, now)
            if not isinstance(verdict, Cause):
                self._release_at = verdict
                break
            if queue.hurried and self._rule.learns:
                start = crew.done_at(runner, now)
                crowded = now - self._refused_at <= 2.0 * costs.typical(costs.ideal)
                fits, late = in_time(queue, size, start, costs, crowded=crowded)
                if late is not None:
                    queue.remove(late)
                    self._refused_at = now
                    left = (late.deadline or now) - now
                    bad.append(Refuse(late, WouldBeLate(max(left, start + costs.typical(1) - now), left)))
                    continue
                size, verdict = fits, verdict if fits == size else Cause.DEADLINE
            batch = self._form(runner, size, verdict, now)
            if not ahead:
                batch.begin(now)
            effects.append(Run(runner, batch, ahead))
        return effects + bad

    def wakeup(self) -> float | None:
        """When to `collect` again if nothing happens before; None: not at all. Holds right after `collect`."""
        expiry = self._queue.next_expiry
        at = self._release_at if expiry is None else min(self._release_at, expiry)
        return None if at == math.inf else at

    def _decide(self, runner: Runner, now: float) -> tuple[int, Cause | float]:
        """How many jobs `runner`, who is free, gets and why, or when to ask again."""
        queue, announced, costs = self._queue, self._announced, self._crew.costs(runner)
        if queue.alone:
            before = queue.ahead_of_alone(self._largest)
            if before < self._largest:
                return self._rule.size(before, costs) if before else 1, Cause.ALONE
        oldest = queue.oldest
        verdict = self._rule.decide(
            len(queue), oldest, max(oldest, self._crew.free[runner]), len(announced),
            announced[-1] if announced else now, now, costs,
        )  # fmt: skip
        return self._rule.size(len(queue), costs) if isinstance(verdict, Cause) else 0, verdict

    def _form(self, runner: Runner, size: int, cause: Cause, now: float) -> Batch:
        self._batches += 1
        batch = Batch(self._batches, self._queue.take(size), cause, now, runner)
        for job in batch.jobs:
            job.batch = batch
        self._crew.give(batch, now)
        return batch

    def _size_ahead(self, costs: Costs) -> int:
        """What gains nothing by more, or, as a worker that is never idle gets all its batches ahead, a size to try: not
        with deadlines behind it, where one long batch makes many jobs late.
        """
        queued = len(self._queue)
        return costs.choose(queued) if queued >= self._largest and not self._queue.hurried else costs.ideal

    def _ahead(self, now: float) -> Runner | None:
        """Who still runs a batch and may have the next one already: the one that will be done first."""
        if not self._rule.learns or self._queue.alone:
            return None
        runner = self._crew.soonest(now)
        if runner is None or not may_go_ahead(len(self._queue), self._crew.costs(runner)):
            return None
        return runner
