"""CallPlane: what workers need of the server when their handlers call other models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ...scheduler.job import Batch, Job, Sink
from ..payload import Part
from ..tracing.batch_trace import BatchTrace


@dataclass(frozen=True, slots=True)
class CallOrder:
    """A handler's request to another model.

    `caller` is the calling model, and `jobs` are the requests of `batch` for which it calls. `timeout` is in seconds,
    None if neither the handler nor any client of these requests set one. `refuse` ends the call with an error. `trace`
    is there if the batch is recorded.
    """

    caller: str
    batch: Batch
    jobs: tuple[Job, ...]
    model: str
    version: str | None
    parts: tuple[Part, ...]
    timeout: float | None
    refuse: Callable[[Exception], None]
    trace: BatchTrace | None = None


class CallTicket(Protocol):
    """A call that the server has taken. Its worker must call exactly one of the methods."""

    def succeeded(self, seconds: float) -> None:
        """Count the call as answered, `seconds` after it began."""

    def failed(self, error: BaseException) -> None:
        """Count the call as failed with `error`."""

    def cancel(self, error: Exception | None = None) -> None:
        """End the call, whose answer is of no use any more. Its caller may be told an `error`."""


class CallPlane(Protocol):
    """The server's side of calls between models."""

    def begin(self, order: CallOrder, sink: Sink) -> CallTicket:
        """Queue a request; the outcome goes to `sink`. Raises ServeError."""
        ...

    def taken(self, batch: Batch) -> None:
        """Note that a worker has got `batch` while the one before it waits for calls."""
