"""ModelScheduler: the scheduler of one model version on an event loop. The only asyncio file here that reads a clock.

What decides is the batcher (`batcher.py`, `sequence_batcher.py` for continuous and stateful batching, or
`token_batcher.py` for generation), which is pure. This file tells it what happens, carries out what it says, and
answers each job's sink exactly once:

    submit, attach, finish, …  ─►  batcher notes it  ─►  _dispatch: carry out batcher.collect()
                                                            Run     ─► runner.run(batch)
                                                            Expire, Refuse ─► sink.fail(error)

Dispatching is put off to the end of the loop's iteration (one `call_soon` for all): requests that one iteration read
are queued before a batch is formed, so that they share it. Two cases dispatch at once. `finish` does, before it writes
the batch's answers, so that the worker computes meanwhile. `submit` does if the queue is full, as only the putting off
may have kept free workers from making room.

Waiting costs one timer per scheduler, not one per job: it is set to the batcher's `wakeup()`. A timer that fires too
early only looks again, so an earlier one is left standing rather than moved for each batch.

Runners and sinks may call back into the scheduler from within a call of it (`finish` from within `run`, `submit` from
within `done`). `_dispatching` guards against a second dispatch inside the first one, which asks the batcher once more
instead (`_dispatch_again`). There is no task and no lock; all calls are made on the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from .answers import all_failed, answer_all, pass_on, unlink
from .batcher import Batcher, Expire, Refuse, Run, Stop
from .batchers import batcher_of
from .errors import JobExpired, OutcomeMismatch, QueueFull, SchedulerError
from .job import Batch, Continue, Interruptible, Job, Runner
from .latency_model import LatencyModel
from .policy import BatchPolicy
from .sequence_batcher import SequenceBatcher
from .token_batcher import TokenBatcher

_log = logging.getLogger(__name__)

_TIMER_STEP = 1e-3  # s: uvloop's timers know milliseconds only; what is due sooner is waited for by turning the loop


class ModelScheduler:
    """The scheduler of one model version: its queue, its batches and its runners."""

    def __init__(
        self,
        policy: BatchPolicy,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        refused: Callable[[SchedulerError], Exception] = lambda error: error,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Schedule on `loop`, which defaults to the running one.

        `refused` turns the error of a job that leaves the queue unserved, or is stopped, into the one that its sink
        gets. `clock` must agree with `loop.time`, which is the default and, in uvloop, moves in steps of 1 ms.
        """
        self.policy = policy
        self._loop = loop or asyncio.get_running_loop()
        self._time = clock or self._loop.time
        self._clock_is_finer = clock is not None
        self._refused = refused
        self._batcher = batcher_of(policy)
        self.latencies: Mapping[str, LatencyModel] = {}  # what was learnt, by kind of device
        if isinstance(self._batcher, Batcher):
            self.latencies = self._batcher.latencies
        self._runners: set[Runner] = set()
        self._batches: dict[int, Batch] = {}  # handed over and not ended, by id
        self._running = 0
        self._closed_by: Exception | None = None
        self._dispatch_due = False
        self._dispatching = False
        self._dispatch_again = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._idle: asyncio.Event | None = None

    @property
    def queued(self) -> int:
        """The number of jobs that wait."""
        return self._batcher.queued

    @property
    def running(self) -> int:
        """The number of jobs handed to a runner and not yet answered, those cancelled meanwhile included."""
        return self._running

    @property
    def runners(self) -> int:
        """The number of attached runners, free or not."""
        return len(self._runners)

    @property
    def free(self) -> int:
        """The number of runners that would take a batch now."""
        return self._batcher.free

    @property
    def seconds_per_job(self) -> float:
        """Seconds of a runner per job in a batch of the best size; 0 while nothing is known."""
        return self._batcher.seconds_per_job

    def now(self) -> float:
        """Return the time (s) on the clock of `Job.arrived`, `expires`, `deadline` and `Batch.formed`."""
        return self._time()

    # ---- requests

    def submit(self, job: Job) -> None:
        """Queue a job; its batch is formed at the end of this loop iteration at the earliest.

        Raises QueueFull, QueueClosed, WouldBeLate; with sequences also TooManySequences and SequenceEnded; with tokens
        also TooManyTokens.
        """
        now = job.arrived = self._time()
        try:
            self._batcher.offer(job, now)
        except QueueFull:
            if not self._dispatch_due:
                raise
            self._dispatch(now)
            self._batcher.offer(job, now)
        if not self._dispatch_due:
            self._dispatch_soon()

    def body_started(self) -> None:
        """Note that a request's head has been read and its body is arriving; one `body_finished` must follow."""
        self._batcher.body_started(self._time())

    def body_finished(self) -> None:
        """Note that a request noted by `body_started` has been submitted, or will not be."""
        self._batcher.body_finished(self._time())
        if self._batcher.queued and not self._dispatch_due:
            self._dispatch_soon()

    def cancel(self, job: Job) -> None:
        """Note that nobody wants the answer any more: the sink isn't called again, and a waiting job never runs.

        A running batch whose jobs are all cancelled is interrupted, if its runner can do that.
        """
        self._batcher.cancel(job, self._time())
        batch = job.batch
        if batch is not None and self._batches.get(batch.id) is batch and all(each.cancelled for each in batch.jobs):
            runner = batch.runner
            if isinstance(runner, Interruptible):
                runner.interrupt(batch)
        self._check_idle()

    # ---- runners

    def attach(self, runner: Runner, *, once: bool = False) -> None:
        """Give `runner` batches from now on or, if it still runs one, after that; with `once`, a single one."""
        self._runners.add(runner)
        self._batcher.ready(runner, self._time(), once=once)
        if self._batcher.queued and not self._dispatch_due:
            self._dispatch_soon()

    def detach(self, runner: Runner) -> None:
        """Give `runner` no more batches. Those it has must still end by `finish`, `fail` or `requeue`."""
        self._runners.discard(runner)
        self._batcher.gone(runner, self._time())

    def chunk(self, batch: Batch, items: Sequence[object]) -> None:
        """Pass on a part of each job's answer, in order. Ignored if the batch has ended. Raises OutcomeMismatch."""
        if len(items) != len(batch.jobs):
            raise OutcomeMismatch(len(items), len(batch.jobs))
        if self._batches.get(batch.id) is batch:
            for job, item in zip(batch.jobs, items, strict=True):
                pass_on(job, item)

    def progress(self, job: Job, prompt: int, generated: int) -> None:
        """Note that the prompts of a running job have so many tokens, and so many have been generated for it."""
        if isinstance(self._batcher, TokenBatcher):
            self._batcher.progress(job, prompt, generated, self._time())
            if self._batcher.queued and not self._dispatch_due:
                self._dispatch_soon()
            self._set_timer()

    def paused(self, runner: Runner) -> None:
        """Note that what `runner` sends is not read for now, so that its silence says nothing of its jobs."""
        if isinstance(self._batcher, TokenBatcher):
            self._batcher.paused(runner, self._time())

    def resumed(self, runner: Runner) -> None:
        """Note that what `runner` sends is read again."""
        if isinstance(self._batcher, TokenBatcher):
            self._batcher.resumed(runner, self._time())
            self._set_timer()

    def relearn(self, runner: Runner) -> None:
        """Note that batches take another time from now on: `runner` tells that its model is computed otherwise."""
        if isinstance(self._batcher, Batcher):
            self._batcher.relearn(runner)

    def finish(
        self, batch: Batch, outcomes: Sequence[object], *, seconds: float | None = None, typical: bool = True
    ) -> None:
        """Answer the jobs of a batch, in order; its runner is free again.

        An outcome that is an Exception fails its job; a `Continue` is a part of the answer, and in a continuous batch
        its job goes on. `seconds` is what the batch took, if the runner knows better than the time that passed here; if
        it is not `typical` of a batch of this size, as that of a batch whose jobs were run again one by one, it is not
        recorded. Nor is it if all jobs failed.
        Ignored if the batch has ended. A wrong number of outcomes fails every job with OutcomeMismatch.
        """
        now = self._time()
        if not self._end(batch, now, seconds, outcomes, typical=typical):
            return
        # Before the answers: the worker computes the next batch while these are written.
        if self._batcher.queued or isinstance(self._batcher, SequenceBatcher):
            self._dispatch(now)
        if len(outcomes) != len(batch.jobs):
            outcomes = [OutcomeMismatch(len(outcomes), len(batch.jobs))] * len(batch.jobs)
        answer_all(batch.jobs, outcomes)
        unlink(batch)
        if self._idle is not None:
            self._check_idle()

    def fail(self, batch: Batch, error: Exception) -> None:
        """Fail every job of a batch whose runner broke, and detach the runner. Ignored if the batch has ended."""
        if self._batches.get(batch.id) is batch:
            self.detach(batch.runner)
            self._end(batch, self._time())
            answer_all(batch.jobs, [error] * len(batch.jobs))
            unlink(batch)
            self._check_idle()

    def requeue(self, batch: Batch) -> None:
        """Have the jobs of a prefetched batch, which its runner will never begin, wait again in front.

        Ignored if the batch has ended.
        """
        if self._batches.pop(batch.id, None) is None:
            return
        self._running -= len(batch.jobs)
        self._batcher.requeue(batch, self._time())
        if self._closed_by is not None:
            self.flush(self._closed_by)
        elif self._batcher.queued and not self._dispatch_due:
            self._dispatch_soon()
        self._check_idle()

    def repeat(self, batch: Batch, error: Exception) -> None:
        """Have the jobs of a batch whose runner broke wait again in front, and detach the runner.

        Each job is repeated once: one that has been repeated before fails with `error`. No job may have had a part of
        its answer. Ignored if the batch has ended. Not for sequences and tokens.
        """
        if self._batches.get(batch.id) is not batch:
            return
        self.detach(batch.runner)
        for job in batch.jobs:
            if job.repeated:
                answer_all([job], [error])
                job.cancelled = True  # so that it is not queued again
            job.repeated = True
        self.requeue(batch)

    # ---- the end

    def flush(self, error: Exception) -> None:
        """Fail the jobs that wait; batches that run go on."""
        flushed = self._batcher.flush(self._time())
        answer_all(flushed, [error] * len(flushed))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._check_idle()

    def close(self, error: Exception) -> None:
        """Refuse further jobs and fail those that wait; batches that run go on."""
        self._closed_by = error
        self._batcher.close(self._time())
        self.flush(error)

    def fail_running(self, error: Exception) -> None:
        """Fail every job that runs, and detach its runner: nothing waits for those batches any more."""
        for batch in list(self._batches.values()):
            self.fail(batch, error)

    async def drain(self, grace: float) -> bool:
        """Refuse further jobs, and wait until no job waits or runs; return False if `grace` seconds did not suffice."""
        self._batcher.close(self._time())
        try:
            async with asyncio.timeout(grace):
                await self.idle()
        except TimeoutError:
            return False
        return True

    async def idle(self) -> None:
        """Wait until no job waits or runs."""
        while self._batcher.queued or self._batches:
            if self._idle is None:
                self._idle = asyncio.Event()
            await self._idle.wait()

    def _check_idle(self) -> None:
        if self._idle is not None and not self._batcher.queued and not self._batches:
            self._idle.set()
            self._idle = None

    # ---- within

    def _end(
        self,
        batch: Batch,
        now: float,
        seconds: float | None = None,
        outcomes: Sequence[object] = (),
        *,
        typical: bool = True,
    ) -> bool:
        """Record that a batch has ended with these outcomes, or none if it broke; return False if it had before."""
        if self._batches.pop(batch.id, None) is None:
            return False
        self._running -= len(batch.jobs)
        if isinstance(self._batcher, SequenceBatcher):
            pairs = zip(batch.jobs, outcomes, strict=False)
            continuing = [job for job, outcome in pairs if isinstance(outcome, Continue)]
            self._batcher.ended(batch, now, continuing=continuing)
            return True
        worked = typical and not all_failed(outcomes)
        begins = self._batcher.ended(batch, now, seconds, worked=worked)
        if begins is not None:
            begins.runner.batch_started(begins)
        return True

    def _dispatch_soon(self) -> None:
        self._dispatch_due = True
        self._loop.call_soon(self._on_iteration)

    def _on_iteration(self) -> None:
        self._dispatch_due = False
        self._dispatch(self._time())

    def _on_timer(self) -> None:
        self._timer = None
        # Loops may fire a timer a little before its time by their own clock.
        self._dispatch(max(self._time(), self._timer_at))

    def _dispatch(self, now: float) -> None:
        """Carry out what the batcher says, and set the timer for when to ask it again."""
        self._dispatch_again = True
        if self._dispatching:
            return
        self._dispatching = True
        try:
            while self._dispatch_again:
                self._dispatch_again = False
                for effect in self._batcher.collect(now):
                    if isinstance(effect, Run):
                        self._start(effect.runner, effect.batch)
                    else:
                        self._give_up(effect, now)
        finally:
            self._dispatching = False
        self._set_timer()
        if self._idle is not None:
            self._check_idle()

    def _give_up(self, effect: Expire | Refuse | Stop, now: float) -> None:
        job = effect.job
        if isinstance(effect, Expire):
            error: SchedulerError = JobExpired(now - job.arrived, (job.expires or now) - job.arrived)
        else:
            error = effect.error
        answer_all([job], [self._refused(error)])
        if isinstance(effect, Stop):
            self.cancel(job)

    def _start(self, runner: Runner, batch: Batch) -> None:
        self._batches[batch.id] = batch
        self._running += len(batch.jobs)
        try:
            runner.run(batch)
        except Exception as error:  # noqa: BLE001 - a runner that breaks its promise must not lose jobs
            _log.exception("Runner %r raised on batch %d", runner, batch.id)
            self.fail(batch, error)

    def _set_timer(self) -> None:
        at = self._batcher.wakeup()
        if at is None:
            return
        if self._clock_is_finer and at - self._time() < _TIMER_STEP:
            if not self._dispatch_due:
                self._dispatch_soon()
            return
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._on_timer)
