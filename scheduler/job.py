"""Job, one request in a queue, and Batch, the jobs one worker runs together. The payload is opaque here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class Sink(Protocol):
    """Where a job's outcome goes: any number of `chunk`, then one `done` or `fail`. Called on the event loop."""

    def chunk(self, item: object) -> None: ...
    def done(self, item: object) -> None: ...
    def fail(self, error: Exception) -> None: ...


class Runner(Protocol):
    """Runs batches, one at a time. Hashable; `run` neither blocks nor raises, and may answer before it returns."""

    def run(self, batch: Batch) -> None: ...


class Cause(Enum):
    """Why a batch was released. ALONE: its only job runs alone, or the next one does, so that it could not grow."""

    FULL = "full"
    DELAY = "delay"
    FREE_WORKER = "free worker"
    ALONE = "alone"


@dataclass(slots=True, eq=False)
class Job:
    """One request. Times are seconds on the event loop's clock.

    `alone` jobs (describe) never share a batch. `started` is set when the batch is handed to a worker; `seq` is the
    job's place in its queue, set by the batcher.
    """

    id: str
    payload: object
    sink: Sink
    arrived: float
    expires: float | None = None
    alone: bool = False
    started: float | None = None
    cancelled: bool = False
    seq: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Jobs in order of arrival, released together at `formed` because of `cause`."""

    id: int
    jobs: tuple[Job, ...]
    cause: Cause
    formed: float
    runner: Runner = field(repr=False)
