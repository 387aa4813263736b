"""TraceNotes: what is noted of a span that waits in queues and runs in batches: that of a request, or of a step of one.

The event loop only notes times and refers to what is there anyway; the exporter's thread makes the spans.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from .span import Attributes, Link, Span

MOST_RUNS = 32  # of one request, whose rows may run in batches of their own

Nanoseconds: TypeAlias = Callable[[float], int]
"""Returns ns since the epoch for a time on the clock of a Source."""


class Source(Protocol):
    """An interface for what has the clock and makes the ids of traces, and takes what was noted of them."""

    def now(self) -> float: ...
    def new_span_id(self) -> str: ...
    def offer(self, record: object, /) -> object: ...


class SharedBatch(Protocol):
    """An interface for the batch that a request ran in. `owner` is the request whose trace has the batch's own span."""

    @property
    def owner(self) -> TraceNotes: ...
    @property
    def span_id(self) -> str: ...
    @property
    def attributes(self) -> Attributes: ...


class TraceNotes:
    """The notes of one span and of the queues and batches below it. Times are in seconds on the clock of its source."""

    __slots__ = (
        "_ended",
        "_error",
        "_queued",
        "_runs",
        "_started",
        "_tokens",
        "flags",
        "source",
        "span_id",
        "state",
        "steps",
        "trace_id",
    )  # fmt: skip

    def __init__(self, source: Source, trace_id: str, flags: int, state: str, now: float) -> None:
        self.source = source
        self.trace_id = trace_id
        self.span_id = source.new_span_id()
        self.flags = flags  # those that go on: sampled, and what the caller has said of its ids
        self.state = state  # the tracestate, "" if there is none
        self.steps = 0  # how many steps were begun below this span
        self._started = self._ended = now
        self._queued: float | None = None
        self._runs: list[tuple[float, float, SharedBatch]] = []
        self._error = "", ""  # its kind and its text
        self._tokens: tuple[int, int] | None = None  # that it had, and got, of a language model

    def ran(self, queued: float, formed: float, batch: SharedBatch) -> None:
        """Note that the request, which had waited since `queued`, was put into a batch."""
        if len(self._runs) < MOST_RUNS:
            self._runs.append((queued, formed, batch))

    def withdrawn(self, batch: SharedBatch) -> None:
        """Forget a batch that never began and whose requests wait again."""
        self._runs = [run for run in self._runs if run[2] is not batch]

    def generated(self, prompt: int, generated: int) -> None:
        """Note how many tokens the request has had, and got, of a language model."""
        self._tokens = prompt, generated

    def failed(self, error: BaseException) -> None:
        """Note why the request failed."""
        self._error = type(error).__name__, str(error)

    def _waits(self, nanoseconds: Nanoseconds) -> list[Span]:
        """Return a span for each time that it waited, or ran in a batch whose own spans are in another trace."""
        spans: list[Span] = []
        for queued, formed, batch in self._runs:
            spans.append(self._below("queue", queued, formed, nanoseconds))
            if batch.owner is not self:
                spans.append(self._shared(batch, formed, nanoseconds))
        if self._queued is not None and not self._runs and not self.steps:
            spans.append(self._below("queue", self._queued, self._ended, nanoseconds))
        return spans

    def _below(self, name: str, begin: float, end: float, nanoseconds: Nanoseconds) -> Span:
        times = nanoseconds(begin), nanoseconds(max(begin, end))
        return Span(name, self.trace_id, self.source.new_span_id(), self.span_id, *times, state=self.state)

    def _shared(self, batch: SharedBatch, formed: float, nanoseconds: Nanoseconds) -> Span:
        """Return the span of this request's part in a batch whose own spans are in the trace of another request."""
        span = self._below("batch", formed, self._ended, nanoseconds)
        span.attributes.update(batch.attributes)
        span.links = (Link(batch.owner.trace_id, batch.span_id),)
        return span
