"""Lane: one model version's queue on an event loop. The only asyncio file here and the only one that reads a clock.

It tells the Batcher what happens, carries out what that decides, and answers each job's sink once. No task and no timer
per job: one call_soon per loop iteration and one timer per lane.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from .batcher import Batcher, Expire, Run
from .errors import JobExpired, OutcomeMismatch, QueueFull, SchedulerError
from .job import Batch, Going, Job, Runner, Sink
from .policy import BatchPolicy
from .sequence_batcher import SlotBatcher

_log = logging.getLogger(__name__)

_AT_ONCE = 1e-3  # s: what is due sooner is waited for by turning the loop, as uvloop's timers know milliseconds only


class Lane:
    """Queue, batches and answers of one model version. Everything is called on the loop's thread."""

    def __init__(
        self,
        policy: BatchPolicy,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        refused: Callable[[SchedulerError], Exception] = lambda error: error,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`refused` makes the error of a job that leaves the queue unserved from JobExpired or WouldBeLate. `clock`
        must agree with `loop.time`, which is the default and, in uvloop, moves in steps of a millisecond.
        """
        self.policy = policy
        self._loop = loop or asyncio.get_running_loop()
        self._time = clock or self._loop.time
        self._turns = clock is not None
        self._refused = refused
        slots = policy.continuous or policy.sequences is not None
        self._batcher = SlotBatcher(policy) if slots else Batcher(policy)
        self._attached: set[Runner] = set()
        self._batches: dict[int, Batch] = {}  # those handed over, by id
        self._over: Exception | None = None
        self._running = 0
        self._pump_due = False
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._quiet: asyncio.Event | None = None

    @property
    def queued(self) -> int:
        """Jobs that wait."""
        return self._batcher.queued

    @property
    def running(self) -> int:
        """Jobs handed to a runner and not yet answered, those cancelled meanwhile included."""
        return self._running

    @property
    def runners(self) -> int:
        """Runners attached, free or not."""
        return len(self._attached)

    @property
    def free(self) -> int:
        """Runners that would take a batch now."""
        return self._batcher.free

    @property
    def pace(self) -> float:
        """Seconds of a runner that a job takes in a batch of the size that pays; 0 while nothing is known."""
        return self._batcher.pace

    def now(self) -> float:
        """The clock (s) of `expires`, `Job.arrived` and `Batch.formed`."""
        return self._time()

    def submit(
        self,
        payload: object,
        sink: Sink,
        *,
        id: str,  # noqa: A002 - it becomes Job.id
        expires: float | None = None,
        deadline: float | None = None,
        priority: int = 0,
        sequence: str = "",
        ends: bool = False,
        alone: bool = False,
    ) -> Job:
        """Queue one request; its batch is formed at the end of this loop iteration at the earliest.

        `expires` and `deadline` are times of `now()`, in s. Raises QueueFull, LaneClosed, WouldBeLate.
        """
        now = self._time()
        job = Job(id, payload, sink, now, expires, alone, deadline, priority, sequence, ends)
        try:
            self._batcher.offer(job, now)
        except QueueFull:
            if not self._pump_due:
                raise
            # Only this iteration's coalescing kept free workers from making room.
            self._pump(now)
            self._batcher.offer(job, now)
        if not self._pump_due:
            self._pump_soon()
        return job

    def announce(self) -> None:
        """A request's head is here and its body still arriving; exactly one `retract` must follow."""
        self._batcher.announce(self._time())

    def retract(self) -> None:
        """The announced request has been submitted, or will not come."""
        self._batcher.retract(self._time())
        if self._batcher.queued and not self._pump_due:
            self._pump_soon()

    def cancel(self, job: Job) -> None:
        """Nobody wants the answer any more: the sink isn't called again, and a job that still waits never runs."""
        self._batcher.cancel(job, self._time())
        self._settle()

    def attach(self, runner: Runner) -> None:
        """`runner` takes batches, at once or, if it still runs one, after it."""
        self._attached.add(runner)
        self._batcher.ready(runner, self._time())
        if self._batcher.queued and not self._pump_due:
            self._pump_soon()

    def detach(self, runner: Runner) -> None:
        """`runner` takes no more batches. Those it has may still end by `finish`, `fail` or `put_back`, and must."""
        self._attached.discard(runner)
        self._batcher.gone(runner, self._time())

    def chunk(self, batch: Batch, items: Sequence[object]) -> None:
        """Part of an answer for each job, in order. Ignored once the batch has ended; raises OutcomeMismatch."""
        if len(items) != len(batch.jobs):
            raise OutcomeMismatch(len(items), len(batch.jobs))
        if self._batches.get(batch.id) is batch:
            for job, item in zip(batch.jobs, items, strict=True):
                if not job.cancelled:
                    try:
                        job.sink.chunk(item)
                    except Exception:  # noqa: BLE001 - whatever a caller\'s sink raises must not hurt the batch
                        _log.exception("The sink of job %s raised", job.id)

    def finish(self, runner: Runner, batch: Batch, outcomes: Sequence[object], *, seconds: float | None = None) -> None:
        """The answers, one per job in order; an Exception among them fails that job. `runner` is free again.

        `seconds` is what the batch took, where `runner` knows better than the time that has passed here. Answers for a
        batch that has ended already are ignored. A wrong number of them fails every job of the batch.
        """
        now = self._time()
        if not self._end(batch, now, seconds, outcomes):
            return
        # Before the answers: the worker computes the next batch while these are written.
        if self._batcher.queued or isinstance(self._batcher, SlotBatcher):
            self._pump(now)
        if len(outcomes) != len(batch.jobs):
            outcomes = [OutcomeMismatch(len(outcomes), len(batch.jobs))] * len(batch.jobs)
        for job, outcome in zip(batch.jobs, outcomes, strict=True):
            _answer(job, outcome)
        _part(batch)
        self._settle()

    def fail(self, runner: Runner, batch: Batch, error: Exception) -> None:
        """`runner` broke: every job of its batch fails, and it is detached until it is attached again.

        Ignored when the batch has ended already.
        """
        if self._batches.get(batch.id) is batch:
            self.detach(runner)
            self._end(batch, self._time())
            for job in batch.jobs:
                _answer(job, error)
            _part(batch)
            self._settle()

    def put_back(self, batch: Batch) -> None:
        """`batch` was handed over ahead, and its runner will never begin it: its jobs wait again, in front.

        Ignored when the batch has ended already.
        """
        if self._batches.pop(batch.id, None) is None:
            return
        self._running -= len(batch.jobs)
        self._batcher.put_back(batch, self._time())
        if self._over is not None:
            self.flush(self._over)
        elif self._batcher.queued and not self._pump_due:
            self._pump_soon()
        self._settle()

    def flush(self, error: Exception) -> None:
        """Fail the jobs that wait; batches that run go on."""
        for job in self._batcher.flush(self._time()):
            _answer(job, error)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._settle()

    def close(self, error: Exception) -> None:
        """Refuse further jobs and fail those that wait; batches that run go on."""
        self._over = error
        self._batcher.close(self._time())
        self.flush(error)

    async def drain(self, grace: float) -> bool:
        """Refuse further jobs, and wait until no job waits or runs. False when `grace` seconds did not suffice."""
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
            if self._quiet is None:
                self._quiet = asyncio.Event()
            await self._quiet.wait()

    def _settle(self) -> None:
        if self._quiet is not None and not self._batcher.queued and not self._batches:
            self._quiet.set()
            self._quiet = None

    def _end(self, batch: Batch, now: float, seconds: float | None = None, outcomes: Sequence[object] = ()) -> bool:
        """It has ended, with these outcomes or none. False if it had before."""
        if self._batches.pop(batch.id, None) is None:
            return False
        self._running -= len(batch.jobs)
        if isinstance(self._batcher, SlotBatcher):
            going = [job for job, outcome in zip(batch.jobs, outcomes, strict=False) if isinstance(outcome, Going)]
            self._batcher.ended(batch, now, going=going)
            return True
        worked = bool(outcomes) and not isinstance(outcomes[0], Exception)
        begins = self._batcher.ended(batch, now, seconds, worked=worked)
        if begins is not None:
            begins.runner.begun(begins)
        return True

    def _pump_soon(self) -> None:
        self._pump_due = True
        self._loop.call_soon(self._on_iteration)

    def _on_iteration(self) -> None:
        self._pump_due = False
        self._pump(self._time())

    def _on_timer(self) -> None:
        self._timer = None
        # Loops may fire a timer a little before its time by their own clock.
        self._pump(max(self._time(), self._timer_at))

    def _pump(self, now: float) -> None:
        if self._pumping:  # a runner or sink called back; the loop below goes round once more
            return
        self._pumping = True
        try:
            while effects := self._batcher.collect(now):
                for effect in effects:
                    if isinstance(effect, Run):
                        self._start(effect.runner, effect.batch)
                    elif isinstance(effect, Expire):
                        job = effect.job
                        _answer(job, self._refused(JobExpired(now - job.arrived, (job.expires or now) - job.arrived)))
                    else:
                        _answer(effect.job, self._refused(effect.error))
        finally:
            self._pumping = False
        self._set_timer()
        self._settle()

    def _start(self, runner: Runner, batch: Batch) -> None:
        self._batches[batch.id] = batch
        self._running += len(batch.jobs)
        try:
            runner.run(batch)
        except Exception as error:  # noqa: BLE001 - a runner that breaks its promise must not lose jobs
            _log.exception("Runner %r raised on batch %d", runner, batch.id)
            self.fail(runner, batch, error)

    def _set_timer(self) -> None:
        at = self._batcher.wakeup()
        if at is None:
            return
        if self._turns and at - self._time() < _AT_ONCE:
            if not self._pump_due:
                self._pump_soon()
            return
        if self._timer is not None:
            # A timer that fires too early only looks and sets the next; moving it for each batch would cost more.
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._on_timer)


def _part(batch: Batch) -> None:
    """A batch and its jobs know each other: a cycle that only the garbage collector would find, with all bodies."""
    for job in batch.jobs:
        if job.batch is batch:  # unless it goes on, in its next
            job.batch = None


def _answer(job: Job, outcome: object) -> None:
    if job.cancelled:
        return
    try:
        if isinstance(outcome, Exception):
            job.sink.fail(outcome)
        elif isinstance(outcome, Going):
            job.sink.chunk(outcome.item)
        else:
            job.sink.done(outcome)
    except Exception:  # noqa: BLE001 - as in chunk
        _log.exception("The sink of job %s raised", job.id)
