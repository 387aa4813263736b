"""LengthBatcher: a Batcher whose batches hold jobs of like length where that pays. Pure, as Batcher is.

Which jobs may share a batch is LengthGroups' choice, and how many of them the rule's, by what batches like theirs take.
The rule waits for further jobs only while no others wait than these: with others there, the worker has something to
do. Exclusive jobs, deadlines, priorities and expiry are Batcher's. Whether a job that arrives will be late is predicted
from what batches of all lengths take together.
"""

from __future__ import annotations

from .adaptive import may_prefetch
from .batcher import Batcher, Release, Run
from .job import Batch, ReleaseReason, Runner
from .length_groups import LengthGroups
from .policy import BatchPolicy
from .rules import QueueView


class LengthBatcher(Batcher):
    """A bounded queue of jobs that have a `length_class`, and the workers that serve it."""

    __slots__ = ("_groups",)

    def __init__(self, policy: BatchPolicy) -> None:
        super().__init__(policy)
        self._groups = LengthGroups(policy.length_classes, policy.batch_size, policy.padded_sizes)

    def relearn(self, runner: Runner) -> None:
        """Note that `runner` computes batches otherwise from now on."""
        self._groups.forget(runner.device)
        super().relearn(runner)

    def ended(self, batch: Batch, now: float, seconds: float | None = None, *, worked: bool) -> Batch | None:
        """Note that a batch has ended, as Batcher does, and what it took for its longest job."""
        began = batch.jobs[0].started
        if worked and not batch.jobs[0].exclusive and began is not None:
            self._groups.record(batch, now - began if seconds is None else seconds)
        return super().ended(batch, now, seconds, worked=worked)

    def _release_to_free(self, now: float) -> Release | None:
        if self._jobs.exclusive:
            return super()._release_to_free(now)
        runner = self._runners.next_free
        jobs, latency = self._groups.choose(self._jobs, runner.device)
        decision = ReleaseReason.FREE_WORKER if len(jobs) < latency.best_size else ReleaseReason.FULL
        if len(jobs) == self._jobs.size:
            arriving, oldest = self._arriving, self._jobs.oldest_arrival
            since, latest_body = max(oldest, self._runners.free[runner]), arriving[-1] if arriving else now
            asked = self._rule.decide(QueueView(len(jobs), oldest, since, len(arriving), latest_body, now, latency))
            if not isinstance(asked, ReleaseReason):
                self._release_at = asked
                return None
            decision = asked
        size = self._rule.size(len(jobs), latency)
        return Release(runner, size, decision, prefetched=False, jobs=tuple(jobs), latency=latency)

    def _prefetch(self, now: float) -> Release | None:
        runner = None if self._jobs.exclusive else self._runners.next_to_finish(now)
        if runner is None:
            return None
        jobs, latency = self._groups.choose(self._jobs, runner.device)
        if not may_prefetch(len(jobs), latency):
            return None
        explore = len(jobs) >= self._largest and not self._jobs.with_deadline
        size = latency.next_size(len(jobs)) if explore else latency.best_size
        return Release(runner, size, ReleaseReason.FULL, prefetched=True, jobs=tuple(jobs), latency=latency)

    def _form(self, release: Release, now: float) -> Run:
        jobs = release.jobs[: release.size]
        for job in jobs:
            self._queue.remove(job)
        return super()._form(release._replace(jobs=jobs), now)
