"""TokenBatcher: which requests for text a worker's engine gets, and when. Pure, with the methods of Batcher.

An engine generates for many requests side by side, and puts together its steps by itself. What is decided here is whom
it has at a time, by tokens: a request goes to the engine with the most room once its prompt and what it will probably
generate fit into the KV memory beside the others. What does not fit waits here, where clients have their fair shares
(`fair_queue.py`), where it can still be refused or go to another worker, and where it holds no memory.

    offer ─► FairQueue ──room──► engine ──first token──► generates ──► ended
      │          │ expires          │ timeToFirstToken      │ timePerToken, deadline
      ▼          ▼                  ▼                       ▼
    refused    Expire              Stop                    Stop

- The first in the queue is never overtaken by a smaller one behind it, or long prompts would wait for ever. A request
  that is larger than an engine's memory has an idle engine for itself.
- A request is charged with what `token_model.py` expects; if it generates more, with what it has. `progress` tells.
- What can't be answered in time by what is queued is refused when it comes: what must still be freed for it, at the
  rate at which tokens are freed. By Little's law that is what is held now, by the time for which requests hold it.
- Nothing is ended for silence while the server itself does not read what the worker sends (`paused`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from .batcher import Effect, Expire, Refuse, Run, Stop
from .errors import (
    AnswerLate,
    FirstTokenLate,
    GenerationLate,
    QueueClosed,
    QueueFull,
    Stalled,
    TooManyTokens,
    WouldBeLate,
)
from .fair_queue import FairQueue
from .job import Batch, Generating, Job, ReleaseReason, Runner
from .policy import BatchPolicy, SharePolicy
from .token_model import TokenModel
from .tokens import EngineBounds, TokenPolicy


@dataclass(slots=True, eq=False)
class _Generation:
    """A job in an engine: the tokens that it is charged with and has, when it had the first and the last one (s)."""

    job: Job
    batch: Batch
    charged: int
    last: float
    first: float | None = None
    prompt: int = 0
    generated: int = 0


@dataclass(slots=True, eq=False)
class _Engine:
    """A runner, the jobs that it has, and the tokens that these are charged with."""

    runner: Runner
    bounds: EngineBounds | None
    accepting: bool = True
    paused: bool = False
    charged: int = 0
    sequences: int = 0
    running: dict[Job, _Generation] = field(default_factory=dict[Job, _Generation])

    @property
    def room(self) -> float:
        """The tokens that it has room for; infinite if its memory is not known."""
        bounds = self.bounds
        return bounds.memory - self.charged if bounds is not None and bounds.memory else math.inf

    def takes(self, job: Job, most: int) -> bool:
        """Return whether it takes one more job now."""
        if not self.accepting or len(self.running) >= most:
            return False
        if not self.running or job.tokens is None:  # what asks for no tokens needs no memory
            return True
        step = self.bounds.step if self.bounds is not None else 0
        return job.cost <= self.room and not (step and self.sequences + job.tokens.sequences > step)


class TokenBatcher:
    """A batcher of jobs that generate. Times are seconds of one clock."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._limit = policy.queue_size
        self._tokens = policy.tokens or TokenPolicy()
        self._predicts = policy.rule == "adaptive"
        self._model = TokenModel()
        self._queue = FairQueue(policy.shares or SharePolicy())
        self._engines: dict[Runner, _Engine] = {}
        self._running: dict[Job, _Engine] = {}
        self._look_at = math.inf  # when (s) the first of the jobs that run may be late
        self._arriving = 0
        self._offered = 0
        self._batches = 0
        self._closed = False

    @property
    def queued(self) -> int:
        """The number of jobs that wait."""
        return len(self._queue)

    @property
    def free(self) -> int:
        """The number of runners that have room for more."""
        most = self._tokens.most_runs
        return sum(each.accepting and each.room > 0 and len(each.running) < most for each in self._engines.values())

    @property
    def bodies_arriving(self) -> int:
        """The number of requests whose head has been read and whose body is still arriving."""
        return self._arriving

    @property
    def seconds_per_job(self) -> float:
        """Seconds of a runner per job, of which it has many at a time; 0 while nothing is known."""
        return (self._model.held or 0.0) * len(self._engines) / max(1, len(self._running))

    # ---- what happened

    def offer(self, job: Job, now: float) -> None:
        """Queue a job. Raises QueueClosed, QueueFull, WouldBeLate, TooManyTokens."""
        if self._closed:
            raise QueueClosed("the queue is closed")
        if job.tokens is not None:
            self._check_context(job)
            job.cost = self._model.cost(job.tokens, self._bounds)
            limits = (job.expires, job.deadline, now + self._tokens.first_token)
            begun = min(limit for limit in limits if limit is not None)
            job.expires = begun if begun < math.inf else None
            if self._predicts:
                self._check_time(job, now)
        if len(self._queue) >= self._limit and not self._queue.make_room(job):
            raise QueueFull(self._limit)
        self._offered = job.seq = self._offered + 1
        self._queue.add(job)

    @property
    def _bounds(self) -> EngineBounds | None:
        """The bounds of the engine with the longest context, None while none is known."""
        known = [each.bounds for each in self._engines.values() if each.bounds is not None]
        return max(known, key=lambda bounds: bounds.context, default=None)

    def _check_context(self, job: Job) -> None:
        bounds = self._bounds
        if bounds is not None and job.tokens is not None and job.tokens.least > bounds.context:
            raise TooManyTokens(job.tokens.least, bounds.context)

    def _check_time(self, job: Job, now: float) -> None:
        """Raise WouldBeLate if the job's first token would come too late, by what waits and runs."""
        if job.expires is None or (wait := self._wait(job)) is None:
            return
        needed = wait + self._model.to_first
        if now + needed > job.expires:
            raise WouldBeLate(needed, job.expires - now)

    def _wait(self, job: Job) -> float | None:
        """Return the seconds for which a new job would wait for its tokens; None if nothing is known of that."""
        engines = [each for each in self._engines.values() if each.accepting]
        held = self._model.held
        if not engines or held is None:
            return None
        excess = self._queue.cost_before(job) + job.cost - sum(each.room for each in engines)
        if excess <= 0 or not self._running:
            return 0.0
        return excess * held / sum(each.charged for each in engines)

    def body_started(self, now: float) -> None:
        """Note that a request's head has been read and its body is arriving. Nothing waits for it here."""
        self._arriving += 1

    def body_finished(self, now: float) -> None:
        """Note that one arriving request has been offered, or will not be. Raises ValueError if there is none."""
        if not self._arriving:
            raise ValueError("body_finished without body_started")
        self._arriving -= 1

    def ready(self, runner: Runner, now: float, *, once: bool = False) -> None:
        """Note that `runner` accepts jobs. Raises AssertionError with `once`: an engine has many."""
        assert not once, "an engine has many jobs"
        engine = self._engines.get(runner)
        if engine is None:
            bounds = runner.bounds if isinstance(runner, Generating) else None
            engine = self._engines[runner] = _Engine(runner, bounds)
        engine.accepting = True

    def gone(self, runner: Runner, now: float) -> None:
        """Note that `runner` accepts no more jobs; those it has may still end."""
        engine = self._engines.get(runner)
        if engine is not None:
            engine.accepting = False
            self._forget_if_gone(engine)

    def progress(self, job: Job, prompt: int, generated: int, now: float) -> None:
        """Note that a job's prompts have so many tokens, and so many have been generated for it."""
        engine = self._running.get(job)
        if engine is None or job.tokens is None:
            return
        run = engine.running[job]
        if run.first is None:
            run.first = now
            self._model.began(job.tokens, prompt, now - run.batch.formed)
            expected = prompt + self._model.completion(job.tokens) * job.tokens.sequences
            self._charge(engine, run, expected)
        run.last, run.prompt, run.generated = now, prompt, generated
        if prompt + generated > run.charged:
            self._charge(engine, run, prompt + generated)
        self._look_at = min(self._look_at, self._late_at(engine, run))

    def paused(self, runner: Runner, now: float) -> None:
        """Note that what `runner` sends is not read for now, so that its silence means nothing."""
        if (engine := self._engines.get(runner)) is not None:
            engine.paused = True

    def resumed(self, runner: Runner, now: float) -> None:
        """Note that what `runner` sends is read again."""
        if (engine := self._engines.get(runner)) is not None:
            engine.paused = False
            for run in engine.running.values():
                run.last = now
                self._look_at = min(self._look_at, self._late_at(engine, run))

    def ended(self, batch: Batch, now: float, seconds: float | None = None, *, worked: bool) -> None:
        """Note that a job that was handed over has ended; if it `worked`, it is learnt from."""
        (job,) = batch.jobs
        engine = self._running.pop(job)
        run = engine.running.pop(job)
        engine.charged -= run.charged
        if job.tokens is not None:
            engine.sequences -= job.tokens.sequences
            if worked and not job.cancelled and run.first is not None:
                self._model.ended(job.tokens, run.generated, now - run.batch.formed)
            if run.first is not None:
                self._queue.settle(job.client, job.cost - run.prompt - run.generated)
        self._forget_if_gone(engine)

    def requeue(self, batch: Batch, now: float) -> None:
        """Raise AssertionError: no job is prefetched here, so none can be put back."""
        raise AssertionError("no job is prefetched here")

    def cancel(self, job: Job, now: float) -> None:
        """Note that nobody wants the job's answer any more: a waiting job leaves the queue, another is only marked."""
        job.cancelled = True
        self._queue.remove(job)

    def flush(self, now: float) -> list[Job]:
        """Empty the queue and return its jobs, oldest first."""
        return self._queue.clear()

    def close(self, now: float) -> None:
        """Refuse further jobs; those that are queued stay."""
        self._closed = True

    # ---- what to do

    def collect(self, now: float) -> list[Effect]:
        """Return what to do now, runs first. Each effect is returned once; all of them must be carried out."""
        others: list[Effect] = [Expire(job) for job in self._queue.expire(now)]
        others += [Refuse(job, QueueFull(self._limit)) for job in self._queue.displaced()]
        if now >= self._look_at:
            others += self._late(now)
        runs: list[Effect] = []
        while self._queue:
            job = self._queue.first
            takers = [each for each in self._engines.values() if each.takes(job, self._tokens.most_runs)]
            if not takers:
                break
            runs.append(self._begin(max(takers, key=lambda engine: (engine.room, -len(engine.running))), job, now))
        return runs + others

    def wakeup(self) -> float | None:
        """Return when (s) to `collect` again if nothing happens before; None: not at all. Call it after `collect`."""
        expiry = self._queue.next_expiry
        at = self._look_at if expiry is None else min(self._look_at, expiry)
        return None if at == math.inf else at

    def _begin(self, engine: _Engine, job: Job, now: float) -> Run:
        self._queue.take(1)
        self._batches += 1
        batch = job.batch = Batch(self._batches, (job,), ReleaseReason.FREE_WORKER, now, engine.runner)
        batch.begin(now)
        run = _Generation(job, batch, job.cost, now)
        engine.running[job] = run
        engine.charged += job.cost
        engine.sequences += job.tokens.sequences if job.tokens is not None else 0
        self._running[job] = engine
        self._look_at = min(self._look_at, self._late_at(engine, run))
        return Run(engine.runner, batch)

    def _charge(self, engine: _Engine, run: _Generation, tokens: int) -> None:
        engine.charged += tokens - run.charged
        run.charged = tokens

    def _forget_if_gone(self, engine: _Engine) -> None:
        if not engine.accepting and not engine.running:
            self._engines.pop(engine.runner, None)

    # ---- what is late

    def _late(self, now: float) -> Iterator[Stop]:
        """Yield the jobs to stop, and set when to look again."""
        self._look_at = math.inf
        for job, engine in self._running.items():
            run = engine.running[job]
            if job.cancelled:
                continue
            at = self._late_at(engine, run)
            if at <= now:
                yield Stop(job, self._lateness(run, now))
            else:
                self._look_at = min(self._look_at, at)

    def _late_at(self, engine: _Engine, run: _Generation) -> float:
        """Return when (s) a job that runs is late if nothing is heard of it."""
        job = run.job
        at = math.inf if job.deadline is None else job.deadline
        if job.tokens is None or engine.paused:
            return at
        silent = job.arrived + self._tokens.first_token if run.first is None else run.last + self._tokens.per_token
        return min(at, silent)

    def _lateness(self, run: _Generation, now: float) -> GenerationLate:
        job, limits = run.job, self._tokens
        if job.deadline is not None and job.deadline <= now:
            return AnswerLate(now - job.arrived, job.deadline - job.arrived, run.generated)
        if run.first is None:
            return FirstTokenLate(now - job.arrived, limits.first_token, 0)
        return Stalled(now - run.last, limits.per_token, run.generated)
