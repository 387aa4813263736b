"""RequestTrace: what is noted of one sampled request while it is served, and the spans that become of it.

The event loop only notes times and refers to what is there anyway; the exporter's thread makes the spans.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

from msgspec.structs import replace

from ..payload import Payload
from .span import ERROR, SERVER, UNSET, Attributes, Event, Link, Span, short
from .trace_parent import SAMPLED, TraceParent, parent_text

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
    def owner(self) -> RequestTrace: ...
    @property
    def span_id(self) -> str: ...
    @property
    def attributes(self) -> Attributes: ...


class Told(NamedTuple):
    """An account of a request by its front door: the name and the attributes of its span, and how it ended.

    It is `broken` if it failed by the server's fault, and `cancelled` if its client has gone.
    """

    name: str
    attributes: Attributes
    broken: bool = False
    cancelled: bool = False


class RequestTrace:
    """The notes of one sampled request. Times are in seconds on the clock of its source."""

    __slots__ = (
        "_chunked", "_describe", "_ended", "_error", "_model", "_queued", "_runs", "_started", "parent", "source",
        "span_id", "trace_id",
    )  # fmt: skip

    def __init__(self, source: Source, parent: TraceParent | None, trace_id: str, span_id: str, now: float) -> None:
        self.source = source
        self.parent = parent
        self.trace_id = trace_id
        self.span_id = span_id
        self._started = now
        self._queued: float | None = None
        self._model = ""
        self._chunked: float | None = None
        self._ended = now
        self._runs: list[tuple[float, float, SharedBatch]] = []
        self._error = "", ""  # its kind and its text
        self._describe: Callable[[], Told] | None = None

    @property
    def flags(self) -> int:
        """The flags that go on: sampled, and what the caller has said of its ids."""
        return SAMPLED if self.parent is None else self.parent.flags | SAMPLED

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The fields of an answer that tell a caller which sent a traceparent what its request was recorded as."""
        if self.parent is None:
            return ()
        fields = (("traceparent", parent_text(self.trace_id, self.span_id, self.flags)),)
        return (*fields, ("tracestate", self.parent.state)) if self.parent.state else fields

    def queue(self, payload: Payload, model: str) -> Payload:
        """Note that the request goes to the queue of `model` now. Return the payload, which takes the trace along."""
        self._queued = self.source.now()
        self._model = model
        return replace(payload, trace=self)

    def ran(self, queued: float, formed: float, batch: SharedBatch) -> None:
        """Note that the request, which had waited since `queued`, was put into a batch."""
        if len(self._runs) < MOST_RUNS:
            self._runs.append((queued, formed, batch))

    def chunk(self) -> None:
        """Note that a piece of the answer has come; the first one is an event of the span."""
        if self._chunked is None:
            self._chunked = self.source.now()

    def failed(self, error: BaseException) -> None:
        """Note why the request failed."""
        self._error = type(error).__name__, str(error)

    def end(self, describe: Callable[[], Told]) -> None:
        """Note that the request is answered or gone, and hand the trace on. `describe` is called by another thread."""
        self._ended = self.source.now()
        self._describe = describe
        self.source.offer(self)

    def spans(self, nanoseconds: Nanoseconds) -> list[Span]:
        """Return the request's span and, below it, one for each time that it waited or ran in a batch."""
        assert self._describe is not None
        name, attributes, broken, cancelled = self._describe()
        error, failure = ("client_left", "") if cancelled else self._error
        begin, end = nanoseconds(self._started), nanoseconds(self._ended)
        parent, state = (self.parent.span_id, self.parent.state) if self.parent is not None else ("", "")
        told = {key: short(value) if isinstance(value, str) else value for key, value in attributes.items()}
        if self._model:
            told["torchserve.model.name"] = short(self._model)
        if error:
            told["error.type"] = error
        events = () if self._chunked is None else (Event("first_chunk", nanoseconds(self._chunked)),)
        root = Span(
            name, self.trace_id, self.span_id, parent, begin, end, SERVER, told, events,
            status=ERROR if broken else UNSET, failure=short(failure) if broken else "", state=state,
        )  # fmt: skip
        spans = [root]
        for queued, formed, batch in self._runs:
            spans.append(self._below("queue", queued, formed, nanoseconds))
            if batch.owner is not self:
                spans.append(self._shared(batch, formed, nanoseconds))
        if self._queued is not None and not self._runs:
            spans.append(self._below("queue", self._queued, self._ended, nanoseconds))
        return spans

    def _below(self, name: str, begin: float, end: float, nanoseconds: Nanoseconds) -> Span:
        state = "" if self.parent is None else self.parent.state
        times = nanoseconds(begin), nanoseconds(max(begin, end))
        return Span(name, self.trace_id, self.source.new_span_id(), self.span_id, *times, state=state)

    def _shared(self, batch: SharedBatch, formed: float, nanoseconds: Nanoseconds) -> Span:
        """Return the span of this request's part in a batch whose own spans are in the trace of another request."""
        span = self._below("batch", formed, self._ended, nanoseconds)
        span.attributes.update(batch.attributes)
        span.links = (Link(batch.owner.trace_id, batch.span_id),)
        return span
