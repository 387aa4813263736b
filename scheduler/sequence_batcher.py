"""SequenceBatcher: batches whose members stay. Pure, with the methods of Batcher, in whose place it stands.

Two kinds of work need it, and both at once are possible:

- Continuous batching (`BatchPolicy.continuous`): a request takes many steps, and is in each batch of its worker until
  its answer is complete.
- Stateful batching (`BatchPolicy.sequences`): the requests of one sequence go to one worker, which holds their state,
  one at a time and in order.

Each worker has as many slots as a batch has places. What holds a slot is a stream: one request or, with sequences, one
sequence of requests, from its first step to its last. A batch has at most one job of each stream, and waits for none.

    offer ─► stream waits for a slot ─► has a slot, waits for a batch ◄─┐
                                              │ collect                 │ ended: the job goes on, or the next one waits
                                              ▼                         │
                                         runs in a batch ───────────────┤
                                                                        └─► ended: the stream is over, its slot is free

A sequence also ends when nothing has come of it for `idle` s, or `life` s after it began. Its key then names a new
sequence from the next request on; with both kinds at once, a request that comes after the end is refused instead, as
requests of a sequence may then overtake one another. If a worker dies, its sequences go on with another worker, which
has not got their state.
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

REMEMBERED = 10_000  # keys of sequences that have ended


@dataclass(slots=True, eq=False)
class _Stream:
    """A request, or a sequence of requests, that holds a slot once it has one.

    `current` are its jobs in a batch, or that go on in the next one; `waiting` come after them, in order. It was born
    and last touched (a job came, began or ended) at these times (s). `ending` is set once its last job has run.
    """

    key: str
    born: float
    touched: float
    waiting: deque[Job]
    current: list[Job] = field(default_factory=list[Job])
    worker: _Worker | None = None
    ending: bool = False


@dataclass(slots=True, eq=False)
class _Worker:
    """A runner, the streams in its slots in the order in which they came, and the batch that it runs."""

    runner: Runner
    streams: list[_Stream]
    batch: Batch | None = None
    accepting: bool = True

    @property
    def free(self) -> bool:
        """Whether it would take a batch now."""
        return self.batch is None and self.accepting


class SequenceBatcher:
    """A batcher of streams. Times are seconds of one clock."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._size = policy.batch_size
        self._limit = policy.queue_size
        self._sequences: SequencePolicy | None = policy.sequences
        self._continuous = policy.continuous
        self._ended: OrderedDict[str, None] = OrderedDict()  # keys of the sequences that ended last
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._workers: OrderedDict[Runner, _Worker] = OrderedDict()
        self._arriving = 0
        self._offered = 0
        self._batches = 0
        self._closed = False

    @property
    def queued(self) -> int:
        """The number of jobs that wait."""
        return sum(len(stream.waiting) for stream in self._streams.values())

    @property
    def free(self) -> int:
        """The number of runners that would take a batch now."""
        return sum(worker.free for worker in self._workers.values())

    @property
    def bodies_arriving(self) -> int:
        """The number of requests whose head has been read and whose body is still arriving."""
        return self._arriving

    @property
    def seconds_per_job(self) -> float:
        """0: how long a job takes is not learnt here."""
        return 0.0

    # ---- what happened

    def offer(self, job: Job, now: float) -> None:
        """Queue a job. Raises QueueClosed, QueueFull, TooManySequences, SequenceEnded."""
        if self._closed:
            raise QueueClosed("the queue is closed")
        self._end_idle(now)
        stream = None if self._is_own_stream(job) else self._streams.get(job.sequence)
        self._check_room(job, stream)
        self._offered = job.seq = self._offered + 1
        if stream is None:
            key = self._key(job)
            stream = self._streams[key] = _Stream(key, now, now, deque())
        stream.waiting.append(job)
        stream.touched = now

    def _check_room(self, job: Job, stream: _Stream | None) -> None:
        """Raise if there is no room for the job in `stream`, or for a new stream if that is None."""
        sequences = self._sequences
        if sequences is None or job.exclusive:
            if self.queued >= self._limit:
                raise QueueFull(self._limit)
        elif stream is not None:
            if len(stream.waiting) >= sequences.queue_size:
                raise QueueFull(sequences.queue_size)
        elif job.sequence in self._ended:
            raise SequenceEnded(job.sequence)
        elif len(self._streams) >= sequences.most:
            raise TooManySequences(sequences.most)

    def body_started(self, now: float) -> None:
        """Note that a request's head has been read and its body is arriving. No batch waits for it here."""
        self._arriving += 1

    def body_finished(self, now: float) -> None:
        """Note that one arriving request has been offered, or will not be. Raises ValueError if there is none."""
        if not self._arriving:
            raise ValueError("body_finished without body_started")
        self._arriving -= 1

    def ready(self, runner: Runner, now: float, *, once: bool = False) -> None:
        """Note that `runner` accepts batches. Raises AssertionError with `once`: streams stay with their runner."""
        assert not once, "a stream needs more than one batch"
        self._workers.setdefault(runner, _Worker(runner, [])).accepting = True

    def gone(self, runner: Runner, now: float) -> None:
        """Note that `runner` accepts no more batches: its streams go on with another one, once its batch has ended."""
        worker = self._workers.get(runner)
        if worker is not None:
            worker.accepting = False
            if worker.batch is None:
                self._forget(worker)

    def ended(self, batch: Batch, now: float, *, continuing: Collection[Job] = ()) -> None:
        """Note that a batch has ended; of its jobs `continuing` are in the next one, too, if their worker stays."""
        worker = self._workers[batch.runner]
        worker.batch = None
        for stream in list(worker.streams):
            ran = [job for job in stream.current if job in batch.jobs]
            if ran:
                stream.touched = now
                done = [job for job in ran if job not in continuing or job.cancelled or not worker.accepting]
                self._finish(stream, done, now)
        if not worker.accepting:
            self._forget(worker)

    def requeue(self, batch: Batch, now: float) -> None:
        """Raise AssertionError: no batch is prefetched here, so none can be put back."""
        raise AssertionError("no batch is prefetched here")

    def cancel(self, job: Job, now: float) -> None:
        """Note that nobody wants the job's answer any more: it leaves the queue or, if it goes on, the next batch."""
        job.cancelled = True
        stream = self._streams.get(self._key(job))
        if stream is not None and job in stream.waiting:
            stream.waiting.remove(job)
            if self._is_own_stream(job):
                self._close(stream, now)

    def flush(self, now: float) -> list[Job]:
        """Empty the queue and return its jobs, oldest first. Jobs that go on do so."""
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
        """Return what to do now, batches first. Each effect is returned once; all of them must be carried out."""
        late: list[Effect] = [Expire(job) for job in self._expire(now)]
        self._end_idle(now)
        self._assign_slots()
        effects: list[Effect] = []
        for worker in self._workers.values():
            if worker.free and (jobs := tuple(self._next_step(worker, now))):
                self._batches += 1
                reason = ReleaseReason.FULL if len(jobs) == self._size else ReleaseReason.FREE_WORKER
                worker.batch = batch = Batch(self._batches, jobs, reason, now, worker.runner)
                for job in jobs:
                    job.batch = batch
                effects.append(Run(worker.runner, batch))
        return effects + late

    def wakeup(self) -> float | None:
        """Return when (s) to `collect` again if nothing happens before; None: not at all."""
        times = [job.expires for stream in self._streams.values() for job in stream.waiting if job.expires is not None]
        if self._sequences is not None:
            times += [at for stream in self._streams.values() if (at := self._ends_at(stream)) < math.inf]
        return min(times, default=None)

    # ---- batches

    def _next_step(self, worker: _Worker, now: float) -> Iterator[Job]:
        """Yield the jobs of the worker's next batch: first those that go on, as the worker holds them in this order.

        An exclusive job has a batch of its own, between two steps of the others.
        """
        for stream in worker.streams:
            if stream.waiting and stream.waiting[0].exclusive:
                yield self._begin(stream, now)
                return
        for stream in list(worker.streams):
            self._finish(stream, [job for job in stream.current if job.cancelled], now)
        for stream in worker.streams:
            for job in stream.current:
                job.resumed = True
                yield job
        for stream in worker.streams:
            # A request may tell its sequence to stop what goes on, so in continuous batching it doesn't wait for that.
            if stream.waiting and (self._continuous or not stream.current):
                yield self._begin(stream, now)

    def _begin(self, stream: _Stream, now: float) -> Job:
        """Have the stream's next job run, and return it."""
        job = stream.waiting.popleft()
        stream.current.append(job)
        job.started = stream.touched = now
        return job

    def _finish(self, stream: _Stream, jobs: list[Job], now: float) -> None:
        """Have these jobs not run any more. A stream ends with its last job, once all of its jobs are through."""
        stream.current = [job for job in stream.current if job not in jobs]
        stream.ending = stream.ending or any(self._is_last(job) for job in jobs)
        if stream.ending and not stream.current:
            self._close(stream, now, ended=True)

    def _expire(self, now: float) -> Iterator[Job]:
        """Remove and yield the waiting jobs whose `expires` has passed."""
        for stream in list(self._streams.values()):
            for job in [each for each in stream.waiting if each.expires is not None and each.expires <= now]:
                stream.waiting.remove(job)
                if self._is_own_stream(job):
                    self._close(stream, now)
                yield job

    # ---- streams and slots

    def _key(self, job: Job) -> str:
        return f"job {job.seq}" if self._is_own_stream(job) else job.sequence

    def _is_own_stream(self, job: Job) -> bool:
        """Return whether the job belongs to no sequence, so that it is the only one of its stream."""
        return self._sequences is None or job.exclusive

    def _is_last(self, job: Job) -> bool:
        """Return whether the job's stream ends once it has run."""
        return self._is_own_stream(job) or job.ends

    def _assign_slots(self) -> None:
        """Give each stream without a slot one of the free worker that has the fewest streams."""
        for stream in self._streams.values():
            if stream.worker is None and stream.waiting:
                open_ = [each for each in self._workers.values() if each.free and len(each.streams) < self._size]
                if not open_:
                    return
                stream.worker = min(open_, key=lambda worker: len(worker.streams))
                stream.worker.streams.append(stream)

    def _close(self, stream: _Stream, now: float, *, ended: bool = False) -> None:
        """End a stream and free its slot. Jobs that wait behind the end of a sequence are the beginning of the next.

        In continuous batching the key of a sequence that has `ended` is remembered: what still comes of it is late.
        """
        if ended and self._continuous and self._sequences is not None and not stream.waiting:
            self._ended[stream.key] = None
            if len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)
        if stream.worker is not None:
            stream.worker.streams.remove(stream)
        del self._streams[stream.key]
        if stream.waiting:
            self._streams[stream.key] = _Stream(stream.key, now, now, stream.waiting)

    def _forget(self, worker: _Worker) -> None:
        """Remove a worker that has gone: its streams wait for a slot of another."""
        del self._workers[worker.runner]
        for stream in worker.streams:
            stream.worker = None

    def _ends_at(self, stream: _Stream) -> float:
        """Return when (s) a sequence ends if no more jobs of it come."""
        sequences = self._sequences
        if sequences is None or stream.current:
            return math.inf
        life = stream.born + sequences.life if sequences.life else math.inf
        return life if stream.waiting else min(life, stream.touched + sequences.idle)

    def _end_idle(self, now: float) -> None:
        """End the sequences of which nothing has come for too long, or that have lived for too long."""
        if self._sequences is not None:
            for stream in list(self._streams.values()):
                if self._ends_at(stream) <= now:
                    self._close(stream, now, ended=True)
