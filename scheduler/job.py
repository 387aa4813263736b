"""Job, one request in a queue; Batch, the jobs that one worker runs together; and what both need of the outside.

The scheduler knows neither HTTP nor models nor processes: a job's payload is opaque, its answer goes to a `Sink`, and
a worker is anything that is a `Runner`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

from .tokens import EngineBounds, TokenDemand


class Sink(Protocol):
    """A receiver of one job's outcome: any number of `chunk` calls, then one `done` or `fail`, on the event loop."""

    def chunk(self, item: object) -> None:
        """Receive a part of the answer."""

    def done(self, item: object) -> None:
        """Receive the answer, or the last part of it."""

    def fail(self, error: Exception) -> None:
        """Receive the error that is the job's outcome."""


class Runner(Protocol):
    """A worker that runs batches in the order in which it gets them. Hashable."""

    @property
    def name(self) -> str:
        """The worker's name in headers and logs."""
        ...

    @property
    def device(self) -> str:
        """The kind of device that the worker runs on: latencies are comparable on all devices of a kind."""
        ...

    def run(self, batch: Batch) -> None:
        """Run `batch`, and report its end to the scheduler by `finish`, `fail` or `requeue`.

        This must neither block nor raise. The end may be reported before this returns.
        """

    def batch_started(self, batch: Batch) -> None:
        """Note that `batch`, which had been prefetched, runs from now on: the batch before it has ended."""


@runtime_checkable
class Interruptible(Protocol):
    """A runner that can end a running batch early."""

    def interrupt(self, batch: Batch) -> None:
        """End `batch` soon, since nobody waits for its answers any more. Its end must be reported all the same."""


@runtime_checkable
class Generating(Protocol):
    """A runner whose engine generates text for many jobs at a time."""

    @property
    def bounds(self) -> EngineBounds | None:
        """The engine's bounds, None if they are not known."""
        ...


class ReleaseReason(Enum):
    """The reason why a batch was released when it was; the values are shown in headers and metrics.

    FULL: more jobs would not make it cheaper. DELAY: its jobs have waited for as long as they may. FREE_WORKER: waiting
    would not pay. EXCLUSIVE: its only job is exclusive, or the next one in the queue is, so that it could not grow.
    DEADLINE: with one more job, one of them would be late.
    """

    FULL = "full"
    DELAY = "delay"
    FREE_WORKER = "free_worker"
    EXCLUSIVE = "alone"
    DEADLINE = "deadline"

    __hash__ = object.__hash__  # Enum's own is a call of Python's for each batch that is counted


class Continue(NamedTuple):
    """An outcome that is one part of an answer: its job is in the next batch, too (continuous batching)."""

    item: object


@dataclass(slots=True, eq=False)
class Job:
    """A request in a queue. Times are seconds on the scheduler's clock.

    The caller sets: `expires`, by when the job must have begun (else it leaves the queue); `deadline`, by when it must
    be answered (it is refused as soon as it is clear that it won't be); `priority`, the lower the sooner; `exclusive`
    for a job that never shares a batch (describe); `sequence`, the key of the sequence it belongs to, and `ends` if it
    is the last of it; `length_class`, from 0 for the shortest on, where batches are formed by length; of a request for
    text the `client`, among whom room is shared, and the `tokens` it asks for.

    The scheduler sets: `arrived`; `seq`, the number of the job in its queue; `batch` and `started` once it runs;
    `resumed` when it is in a batch again; `repeated` when it runs again because its runner broke; `cancelled`; `cost`,
    the tokens that it is charged with.
    """

    id: str
    payload: object
    sink: Sink
    arrived: float = 0.0
    expires: float | None = None
    exclusive: bool = False
    deadline: float | None = None
    priority: int = 0
    sequence: str = ""
    ends: bool = False
    client: str = ""
    length_class: int = 0
    tokens: TokenDemand | None = None
    cost: int = 1
    resumed: bool = False
    repeated: bool = False
    started: float | None = None
    cancelled: bool = False
    seq: int = 0
    batch: Batch | None = None


@dataclass(slots=True, eq=False)
class Batch:
    """A group of jobs, in order, that was released at `formed` (s) because of `reason` and runs on `runner`.

    `handler_seconds` is how long the worker's handler took; None until the worker has said so. `timing` is what else
    the worker tells of its time, which nothing here reads.
    """

    id: int
    jobs: tuple[Job, ...]
    reason: ReleaseReason
    formed: float
    runner: Runner = field(repr=False)
    handler_seconds: float | None = None
    timing: object = None

    def begin(self, now: float) -> None:
        """Record that the batch runs from `now` on."""
        for job in self.jobs:
            job.started = now
