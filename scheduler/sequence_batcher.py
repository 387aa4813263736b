"""SlotBatcher: batches whose members stay: requests that take many steps (continuous batching), and sequences of
requests that belong to one worker (stateful batching). Pure, with the verbs of Batcher.

Each worker has as many slots as a batch has places. A stream, one request or one sequence of them, holds a slot from
its first step to its last; each batch has at most one job of each, and nobody waits for the others.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from .batcher import Effect, Expire, Run
from .errors import QueueClosed, QueueFull, SequenceEnded, TooManySequences
from .job import Batch, Job, ReleaseReason, Runner
from .policy import BatchPolicy, SequencePolicy

REMEMBERED = 10_000  # names of sequences that have ended


@dataclass(slots=True, eq=False)
class _Stream:
    """`current` are in a batch, or go on in the next one. `waiting` come after them, in order."""

    key: str
    born: float
    touched: float
    waiting: deque[Job]
    current: list[Job] = field(default_factory=list[Job])
    seat: _Seat | None = None
    over: bool = False


@dataclass(slots=True, eq=False)
class _Seat:
    """A worker, its streams in the order in which they came, and the batch that it runs."""

    runner: Runner
    streams: list[_Stream]
    batch: Batch | None = None
    accepting: bool = True


class SequenceBatcher:
    """Streams and workers. Times in seconds of one clock."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._size = policy.batch_size
        self._limit = policy.queue_size
        self._rules: SequencePolicy | None = policy.sequences
        self._steps = policy.continuous
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._seats: OrderedDict[Runner, _Seat] = OrderedDict()
        self._arriving = 0
        self._offered = 0
        self._batches = 0
        self._closed = False

    @property
    def queued(self) -> int:
        return sum(len(stream.waiting) for stream in self._streams.values())

    @property
    def free(self) -> int:
        return sum(seat.batch is None and seat.accepting for seat in self._seats.values())

    @property
    def bodies_arriving(self) -> int:
        return self._arriving

    @property
    def seconds_per_job(self) -> float:
        """Nothing is learnt here of what a job takes."""
        return 0.0

    # ---- what happens

    def offer(self, job: Job, now: float) -> None:
        """Queue a job. Raises LaneClosed, QueueFull, TooManySequences."""
        if self._closed:
            raise QueueClosed("the queue is closed")
        self._end_idle(now)
        rules = self._rules
        stream = self._streams.get(job.sequence) if rules and not job.exclusive else None
        if rules is None or job.exclusive:
            if self.queued >= self._limit:
                raise QueueFull(self._limit)
        elif stream is None and job.sequence in self._ended:
            raise SequenceEnded(job.sequence)
        elif stream is None and len(self._streams) >= rules.most:
            raise TooManySequences(rules.most)
        elif stream is not None and len(stream.waiting) >= rules.queue_size:
            raise QueueFull(rules.queue_size)
        self._offered = job.seq = self._offered + 1
        if stream is None:
            key = self._key(job)
            stream = self._streams[key] = _Stream(key, now, now, deque())
        stream.waiting.append(job)
        stream.touched = now

    def body_started(self, now: float) -> None:
        """A request's body is arriving. Nobody waits for it here."""
        self._arriving += 1

    def body_finished(self, now: float) -> None:
        if not self._arriving:
            raise ValueError("body_finished without body_started")
        self._arriving -= 1

    def ready(self, runner: Runner, now: float) -> None:
        """`runner` takes batches."""
        self._seats.setdefault(runner, _Seat(runner, [])).accepting = True

    def gone(self, runner: Runner, now: float) -> None:
        """`runner` takes no more: its sequences go on with another worker, those that don't run at once."""
        seat = self._seats.get(runner)
        if seat is not None:
            seat.accepting = False
            if seat.batch is None:
                self._dissolve(seat)

    def ended(self, batch: Batch, now: float, *, continuing: Collection[Job] = ()) -> None:
        """A batch is done with; of its jobs `continuing` are in the next one, too."""
        seat = self._seats[batch.runner]
        seat.batch = None
        for stream in list(seat.streams):
            ran = [job for job in stream.current if job in batch.jobs]
            if ran:
                stream.touched = now
                over = [job for job in ran if job not in continuing or job.cancelled or not seat.accepting]
                self._leave(stream, over, now)
        if not seat.accepting:
            self._dissolve(seat)

    def requeue(self, batch: Batch, now: float) -> None:
        raise AssertionError("nothing is handed over ahead here")

    def cancel(self, job: Job, now: float) -> None:
        """Nobody wants the answer any more: it leaves the queue, or, if it goes on, the next batch."""
        job.cancelled = True
        stream = self._streams.get(self._key(job))
        if stream is not None and job in stream.waiting:
            stream.waiting.remove(job)
            if self._by_itself(job):
                self._close(stream, now)

    def flush(self, now: float) -> list[Job]:
        """Empty the queue; returns what was in it, oldest first. What goes on does so."""
        left = sorted((job for stream in self._streams.values() for job in stream.waiting), key=lambda job: job.seq)
        for stream in list(self._streams.values()):
            stream.waiting.clear()
            if not stream.current:
                self._close(stream, now)
        return left

    def close(self, now: float) -> None:
        """Refuse further jobs; those that are queued stay."""
        self._closed = True

    # ---- what to do

    def collect(self, now: float) -> list[Effect]:
        """What to do now, batches first. Each effect is returned once; carry all of them out."""
        late: list[Effect] = [Expire(job) for job in self._expire(now)]
        self._end_idle(now)
        self._seat()
        effects: list[Effect] = []
        for seat in self._seats.values():
            if seat.batch is None and seat.accepting and (jobs := tuple(self._step(seat, now))):
                self._batches += 1
                reason = ReleaseReason.FULL if len(jobs) == self._size else ReleaseReason.FREE_WORKER
                seat.batch = batch = Batch(self._batches, jobs, reason, now, seat.runner)
                for job in jobs:
                    job.batch = batch
                effects.append(Run(seat.runner, batch))
        return effects + late

    def wakeup(self) -> float | None:
        """When to `collect` again if nothing happens before; None: not at all."""
        times = [job.expires for stream in self._streams.values() for job in stream.waiting if job.expires is not None]
        if self._rules is not None:
            times += [at for stream in self._streams.values() if (at := self._ends(stream)) < math.inf]
        return min(times, default=None)

    # ---- within

    def _step(self, seat: _Seat, now: float) -> Iterator[Job]:
        """The next job of each of its streams: those that go on first, as they stand in the worker already. One that
        runs alone does so between two steps of the others.
        """
        for stream in seat.streams:
            if stream.waiting and stream.waiting[0].exclusive:
                yield self._begin(stream, now)
                return
        for stream in list(seat.streams):
            self._leave(stream, [job for job in stream.current if job.cancelled], now)
        for stream in seat.streams:
            for job in stream.current:
                job.resumed = True
                yield job
        for stream in seat.streams:
            # A request may tell its sequence to stop what goes on: with steps it need not wait for the end of that.
            if stream.waiting and (self._steps or not stream.current):
                yield self._begin(stream, now)

    def _begin(self, stream: _Stream, now: float) -> Job:
        job = stream.waiting.popleft()
        stream.current.append(job)
        job.started = stream.touched = now
        return job

    def _leave(self, stream: _Stream, jobs: list[Job], now: float) -> None:
        """They are through. A stream ends with its last one, once all that is in the batch is."""
        stream.current = [job for job in stream.current if job not in jobs]
        stream.over = stream.over or any(self._is_last(job) for job in jobs)
        if stream.over and not stream.current:
            self._close(stream, now, ended=True)

    def _key(self, job: Job) -> str:
        return f"job {job.seq}" if self._by_itself(job) else job.sequence

    def _by_itself(self, job: Job) -> bool:
        """It is all of its stream."""
        return self._rules is None or job.exclusive

    def _is_last(self, job: Job) -> bool:
        """Its stream ends once it has run."""
        return self._by_itself(job) or job.ends

    def _seat(self) -> None:
        """A slot for each stream that has none, with the free worker that has the fewest."""
        for stream in self._streams.values():
            if stream.seat is None and stream.waiting:
                idle = [each for each in self._seats.values() if each.accepting and each.batch is None]
                open_ = [each for each in idle if len(each.streams) < self._size]
                if not open_:
                    return
                stream.seat = min(open_, key=lambda seat: len(seat.streams))
                stream.seat.streams.append(stream)

    def _close(self, stream: _Stream, now: float, *, ended: bool = False) -> None:
        """It gives up its slot. What waits behind the end of a sequence is the beginning of the next one.

        With steps the name of a sequence that has `ended` is remembered: what still comes of it is late.
        """
        if ended and self._steps and self._rules is not None and not stream.waiting:
            self._ended[stream.key] = None
            if len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)
        if stream.seat is not None:
            stream.seat.streams.remove(stream)
        del self._streams[stream.key]
        if stream.waiting:
            self._streams[stream.key] = _Stream(stream.key, now, now, stream.waiting)

    def _dissolve(self, seat: _Seat) -> None:
        del self._seats[seat.runner]
        for stream in seat.streams:
            stream.seat = None

    def _ends(self, stream: _Stream) -> float:
        """When a sequence ends if nothing more comes of it."""
        rules = self._rules
        if rules is None or stream.current:
            return math.inf
        life = stream.born + rules.life if rules.life else math.inf
        return life if stream.waiting else min(life, stream.touched + rules.idle)

    def _end_idle(self, now: float) -> None:
        if self._rules is not None:
            for stream in list(self._streams.values()):
                if self._ends(stream) <= now:
                    self._close(stream, now, ended=True)

    def _expire(self, now: float) -> Iterator[Job]:
        for stream in list(self._streams.values()):
            for job in [each for each in stream.waiting if each.expires is not None and each.expires <= now]:
                stream.waiting.remove(job)
                if self._by_itself(job):
                    self._close(stream, now)
                yield job
