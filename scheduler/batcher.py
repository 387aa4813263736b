"""Batcher: the queue of one model version and the decision when which jobs go to which worker. Pure and synchronous.

A batcher does nothing itself. Its owner tells it what happened (`offer`, `ready`, `ended`, …), then asks `collect(now)`
what to do and `wakeup()` when to ask again if nothing happens before. Every method takes the time, whether this batcher
needs it or not, so that `SequenceBatcher` can stand in its place.

`collect` forms batches until none can be formed. Each is decided in three steps:

1. Who and how many: a free worker gets what the rule says, or is left waiting until the time that the rule says
   (`_release_to_free`). If no worker is free, the one that will be done first may get its next batch already, where
   waiting would not make it better (`_prefetch`).
2. In time: where deadlines wait, the batch is cut to what can be answered in time, or the job that is in the way is
   refused and the decision starts anew (`_cut`).
3. The jobs leave the queue, and the worker is charged with the batch (`_form`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from .adaptive import may_prefetch
from .deadlines import fit, would_be_late
from .errors import GenerationLate, QueueClosed, QueueFull, SchedulerError, WouldBeLate
from .fair_queue import FairQueue
from .job import Batch, Job, ReleaseReason, Runner
from .latency_model import LatencyModel
from .policy import RULES, BatchPolicy
from .queue import JobQueue
from .rules import QueueView, Rule
from .runner_set import RunnerSet

CROWDED_FOR = 2.0  # batches of the best size: for as long after a refusal the queue counts as crowded


class Run(NamedTuple):
    """The order to hand `batch` to `runner`. If `prefetched`, it runs once the batch before it has ended."""

    runner: Runner
    batch: Batch
    prefetched: bool = False


class Expire(NamedTuple):
    """The order to fail `job`, which has left the queue because it waited past its `expires`."""

    job: Job


class Refuse(NamedTuple):
    """The order to fail `job`, which has left the queue: it could not be answered in time any more, or made room."""

    job: Job
    error: SchedulerError


class Stop(NamedTuple):
    """The order to fail `job`, which runs, and to have its runner end it."""

    job: Job
    error: GenerationLate


Effect: TypeAlias = Run | Expire | Refuse | Stop


class Release(NamedTuple):
    """A decision to give `runner` the first `size` jobs of the queue or, if some are named, of `jobs`.

    `latency` estimates what batches like this one take; None: what batches on the runner's kind of device take.
    """

    runner: Runner
    size: int
    reason: ReleaseReason
    prefetched: bool
    jobs: tuple[Job, ...] = ()
    latency: LatencyModel | None = None


class Batcher:
    """A bounded queue and the workers that serve it. Jobs must be offered in order of `arrived`."""

    __slots__ = (
        "_arriving", "_batches", "_came", "_closed", "_fair", "_jobs", "_largest", "_limit", "_offered", "_queue",
        "_refused_at", "_release_at", "_rule", "_runners",
    )  # fmt: skip

    def __init__(self, policy: BatchPolicy) -> None:
        self._largest = policy.batch_size
        self._limit = policy.queue_size
        self._rule: Rule = RULES[policy.rule](policy.batch_size, policy.max_batch_delay)
        self._fair = None if policy.shares is None else FairQueue(policy.shares)
        self._queue: JobQueue | FairQueue = JobQueue() if self._fair is None else self._fair
        self._jobs = self._queue if isinstance(self._queue, JobQueue) else self._queue.jobs  # the same, to be counted
        self._runners = RunnerSet(policy.batch_size, policy.padded_sizes)
        self._arriving: list[float] = []  # when the bodies that are arriving began to
        self._came: list[float] = []  # when the jobs were queued that the rule has not been told of
        self._release_at = math.inf  # when the rule wants to be asked again
        self._refused_at = -math.inf  # when a job was last refused for its deadline
        self._offered = 0
        self._batches = 0
        self._closed = False

    @property
    def queued(self) -> int:
        """The number of jobs that wait."""
        return self._jobs.size

    @property
    def free(self) -> int:
        """The number of runners that would take a batch now."""
        return len(self._runners.free)

    @property
    def bodies_arriving(self) -> int:
        """The number of requests whose head has been read and whose body is still arriving."""
        return len(self._arriving)

    @property
    def seconds_per_job(self) -> float:
        """Seconds of a runner per job in a batch of the best size; 0 while nothing is known."""
        return self._runners.seconds_per_job

    @property
    def latencies(self) -> Mapping[str, LatencyModel]:
        """What was learnt of how long batches take, by kind of device."""
        return self._runners.latencies

    # ---- what happened

    def offer(self, job: Job, now: float) -> None:
        """Queue a job. Raises QueueClosed, QueueFull, WouldBeLate."""
        if self._closed:
            raise QueueClosed("the queue is closed")
        if self._jobs.size >= self._limit and not (self._fair is not None and self._fair.make_room(job)):
            raise QueueFull(self._limit)
        if self._rule.uses_latency and (job.deadline is not None or job.expires is not None):
            late = would_be_late(job, self._queue, self._runners, now)
            if late is not None:
                self._refused_at = now
                raise late
        self._offered = job.seq = self._offered + 1
        self._queue.add(job)
        self._came.append(now)

    def body_started(self, now: float) -> None:
        """Note that a request's head has been read and its body is arriving."""
        self._arriving.append(now)

    def body_finished(self, now: float) -> None:
        """Note that one of the arriving requests has been offered, or will not be. Raises ValueError if there is none.

        Which one isn't said, and the youngest is assumed: a slow body that stays then looks old, and no batch waits
        for it any more.
        """
        if not self._arriving:
            raise ValueError("body_finished without body_started")
        self._arriving.pop()

    def ready(self, runner: Runner, now: float, *, once: bool = False) -> None:
        """Note that `runner` accepts batches: from now on or, if it runs one, once that has ended.

        With `once` it takes a single batch, and none is prefetched behind that.
        """
        self._runners.join(runner, now, once=once)

    def gone(self, runner: Runner, now: float) -> None:
        """Note that `runner` accepts no more batches until it is `ready` again; those it has may still end."""
        self._runners.leave(runner)

    def relearn(self, runner: Runner) -> None:
        """Note that `runner` computes batches otherwise from now on: what they took there tells nothing any more."""
        self._runners.forget_latency(runner)

    def ended(self, batch: Batch, now: float, seconds: float | None = None, *, worked: bool) -> Batch | None:
        """Note that a batch that was handed over has ended; return the batch that its runner begins now, if any.

        If it `worked`, its latency is recorded: `seconds` or, if None, the time since it began.
        """
        passed, begins = self._runners.release(batch, now)
        if worked and self._rule.uses_latency and not batch.jobs[0].exclusive:
            self._runners.record(batch.runner, len(batch.jobs), passed if seconds is None else seconds)
        self._tell_rule()
        self._rule.ended(now)
        if begins is not None:
            begins.begin(now)
        return begins

    def requeue(self, batch: Batch, now: float) -> None:
        """Note that `batch` was prefetched and will never begin: its jobs wait again, in front."""
        self._runners.release(batch, now)
        self._queue.requeue(tuple([job for job in batch.jobs if not job.cancelled]))

    def cancel(self, job: Job, now: float) -> None:
        """Note that nobody wants the job's answer any more: a waiting job leaves the queue, another is only marked."""
        job.cancelled = True
        self._queue.remove(job)

    def flush(self, now: float) -> list[Job]:
        """Empty the queue and return its jobs, in the order in which they would have been served."""
        self._release_at = math.inf
        return self._queue.clear()

    def close(self, now: float) -> None:
        """Refuse further jobs; those that are queued stay."""
        self._closed = True

    # ---- what to do

    def collect(self, now: float) -> list[Effect]:
        """Return what to do now, batches first. Each effect is returned once; all of them must be carried out."""
        self._tell_rule()
        jobs, runners = self._jobs, self._runners
        failed: list[Effect] = []
        if jobs.expiries and jobs.expiries[0][0] <= now:
            failed += [Expire(job) for job in self._queue.expire(now)]
        if self._fair is not None:
            failed += [Refuse(job, QueueFull(self._limit)) for job in self._fair.displaced()]
        runs: list[Effect] = []
        self._release_at = math.inf
        while jobs.size:
            release: Release | Refuse | None
            if runners.free:
                release = self._release_to_free(now)
            elif runners.with_room_behind:
                release = self._prefetch(now)
            else:
                break
            if jobs.with_deadline and isinstance(release, Release) and self._rule.uses_latency:
                release = self._cut(release, now)
            if release is None:
                break
            if isinstance(release, Refuse):
                failed.append(release)
            else:
                runs.append(self._form(release, now))
        return runs + failed

    def wakeup(self) -> float | None:
        """Return when (s) to `collect` again if nothing happens before; None: not at all. Call it after `collect`."""
        at, expiries = self._release_at, self._jobs.expiries
        if expiries:
            at = min(at, expiries[0][0])
        return None if at == math.inf else at

    def _tell_rule(self) -> None:
        if self._came:
            self._rule.arrived(self._came)
            self._came.clear()

    def _release_to_free(self, now: float) -> Release | None:
        """Return what the next free runner gets; None, with `_release_at` set, if it has to wait."""
        queue, runner = self._queue, self._runners.next_free
        latency = self._runners.latency(runner)
        if self._jobs.exclusive:
            before = queue.count_before_exclusive(self._largest)
            if before < self._largest:
                size = self._rule.size(before, latency) if before else 1
                return Release(runner, size, ReleaseReason.EXCLUSIVE, prefetched=False)
        oldest, arriving = queue.oldest_arrival, self._arriving
        since = max(oldest, self._runners.free[runner])
        latest_body = arriving[-1] if arriving else now
        queued = self._jobs.size
        decision = self._rule.decide(
            QueueView(queued, oldest, since, len(arriving), latest_body, now, latency)  # fields in order: it is hot
        )
        if not isinstance(decision, ReleaseReason):
            self._release_at = decision
            return None
        return Release(runner, self._rule.size(queued, latency), decision, prefetched=False)

    def _prefetch(self, now: float) -> Release | None:
        """Return what the busy runner that will be done first gets ahead of that; None if there is no reason to."""
        jobs = self._jobs
        if not self._rule.uses_latency or jobs.exclusive:
            return None
        if self._fair is not None and self._fair.shared(now):
            return None  # what is handed over ahead would go before the next job of another client
        runner = self._runners.next_to_finish(now)
        if runner is None or not may_prefetch(jobs.size, latency := self._runners.latency(runner)):
            return None
        # A worker that is never idle gets all its batches by prefetch, so this is where it tries other sizes. Not with
        # deadlines in the queue, where one long batch makes many jobs late.
        explore = jobs.size >= self._largest and not jobs.with_deadline
        size = latency.next_size(jobs.size) if explore else latency.best_size
        return Release(runner, size, ReleaseReason.FULL, prefetched=True)

    def _cut(self, release: Release, now: float) -> Release | Refuse:
        """Return `release` with as many jobs as can be answered in time, or the refusal of the job that prevents it."""
        runner, size = release.runner, release.size
        latency = release.latency or self._runners.latency(runner)
        start = self._runners.free_at(runner, now)
        crowded = now - self._refused_at <= CROWDED_FOR * latency.median(latency.best_size)
        fitting = fit(release.jobs or self._queue, size, start, latency, crowded=crowded)
        if isinstance(fitting, Job):
            self._queue.remove(fitting)
            self._refused_at = now
            left = (fitting.deadline or now) - now
            return Refuse(fitting, WouldBeLate(max(left, start + latency.median(1) - now), left))
        if fitting < size:
            return release._replace(size=fitting, reason=ReleaseReason.DEADLINE)
        return release

    def _form(self, release: Release, now: float) -> Run:
        self._batches += 1
        jobs = release.jobs or self._queue.take(release.size)
        batch = Batch(self._batches, jobs, release.reason, now, release.runner)
        for job in batch.jobs:
            job.batch = batch
        self._runners.assign(batch, now)
        if not release.prefetched:
            batch.begin(now)
        return Run(release.runner, batch, release.prefetched)
