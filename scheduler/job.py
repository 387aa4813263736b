"""Job, one request in a queue, and Batch, the jobs one worker runs together. The payload is opaque here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol


class Sink(Protocol):
    """Where a job's outcome goes: any number of `chunk`, then one `done` or `fail`. Called on the event loop."""

    def chunk(self, item: object) -> None: ...
    def done(self, item: object) -> None: ...
    def fail(self, error: Exception) -> None: ...


class Runner(Protocol):
    """Runs batches in the order in which it gets them. Hashable; `run` neither blocks nor raises, and may answer
    before it returns.
    """

    @property
    def device(self) -> str:
        """The kind of device it runs on: batches cost alike on all of a kind."""
        ...

    def run(self, batch: Batch) -> None: ...

    def begun(self, batch: Batch) -> None:
        """The batch before has ended, so that this one, handed over ahead of its time, runs from now on."""
        ...


class Cause(Enum):
    """Why a batch was released. FULL: more jobs would not make it cheaper. ALONE: its only job runs alone, or the next
    one does, so that it could not grow. DEADLINE: with one more job, one of them would be late.
    """

    FULL = "full"
    DELAY = "delay"
    FREE_WORKER = "free worker"
    ALONE = "alone"
    DEADLINE = "deadline"


class Going(NamedTuple):
    """An outcome that is a part of the answer: its job is in the next batch, too."""

    item: object


@dataclass(slots=True, eq=False)
class Job:
    """One request. Times are seconds on the lane's clock.

    One that has not begun by `expires` leaves the queue; one that would not be answered by `deadline` is refused as
    soon as that is clear. Of two `priority`s the lower is served first. `alone` jobs (describe) never share a batch.
    `sequence` names the one that it belongs to, `ends` says that it is the last of it. `resumed` is set when it is in a
    batch again. `batch` and `started` are set when it runs; `seq` is its place in its queue, set by the batcher.
    """

    id: str
    payload: object
    sink: Sink
    arrived: float
    expires: float | None = None
    alone: bool = False
    deadline: float | None = None
    priority: int = 0
    sequence: str = ""
    ends: bool = False
    resumed: bool = False
    started: float | None = None
    cancelled: bool = False
    seq: int = 0
    batch: Batch | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Jobs in order of arrival, released together at `formed` because of `cause`."""

    id: int
    jobs: tuple[Job, ...]
    cause: Cause
    formed: float
    runner: Runner = field(repr=False)

    def begin(self, now: float) -> None:
        """Its runner runs it from `now` on."""
        for job in self.jobs:
            job.started = now
