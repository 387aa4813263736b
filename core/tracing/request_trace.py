"""RequestTrace: what is noted of a sampled request on its way, and the spans that are made of it afterwards.

The event loop only notes times and refers to what is there anyway; the exporter's thread makes the spans.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec.structs import replace

from ..payload import Body, Payload
from .gen_ai import MOST_READ, answered_with, asked_of, usage
from .span import ERROR, SERVER, UNSET, Attributes, Event, Span, short
from .trace_notes import Nanoseconds, Source, TraceNotes
from .trace_parent import SAMPLED, TraceParent, parent_text


class Told(NamedTuple):
    """An account of a request by its front door: the name and the attributes of its span, and how it ended.

    It is `broken` if it failed by the server's fault, and `cancelled` if its client has gone.
    """

    name: str
    attributes: Attributes
    broken: bool = False
    cancelled: bool = False


class RequestTrace(TraceNotes):
    """The notes of one sampled request, below the span of its caller if that sent a traceparent."""

    __slots__ = ("_answer", "_asked", "_chunked", "_describe", "_of", "_served_by", "parent")

    def __init__(self, source: Source, parent: TraceParent | None, trace_id: str, now: float) -> None:
        flags, state = (SAMPLED, "") if parent is None else (parent.flags | SAMPLED, parent.state)
        super().__init__(source, trace_id, flags, state, now)
        self.parent = parent
        self._of = self._served_by = ""
        self._chunked: float | None = None
        self._describe: Callable[[], Told] | None = None
        self._asked: dict[str, Any] | None = None  # the attributes of what a request asks of a language model
        self._answer = b""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The fields of an answer that tell a caller which sent a traceparent what its request was recorded as."""
        if self.parent is None:
            return ()
        fields = (("traceparent", parent_text(self.trace_id, self.span_id, self.flags)),)
        return (*fields, ("tracestate", self.state)) if self.state else fields

    def queue(self, payload: Payload, name: str, of: str = "model") -> Payload:
        """Note that the request goes to the queue of a model, or of what else serves it, now. Return the payload, which
        takes the trace along.
        """
        self._queued = self.source.now()
        self._of, self._served_by = of, name
        self._asked = asked_of(payload)
        return replace(payload, trace=self)

    def answered(self, body: Body) -> None:
        """Note the whole answer to the request, of which that of a language model tells what was generated."""
        if self._asked is not None and len(body) <= MOST_READ:
            self._answer = bytes(body)

    def refused(self) -> None:
        """Note that the queue did not take the request."""
        self._queued = None

    def chunk(self) -> None:
        """Note that a piece of the answer has come; the first one is an event of the span."""
        if self._chunked is None:
            self._chunked = self.source.now()

    def end(self, describe: Callable[[], Told]) -> None:
        """Note that the request is answered or gone, and hand the trace on. `describe` is called by another thread."""
        self._ended = self.source.now()
        self._describe = describe
        self.source.offer(self)

    def spans(self, nanoseconds: Nanoseconds) -> list[Span]:
        """Return the request's span and, below it, those of its queues and of batches in other traces."""
        assert self._describe is not None
        name, attributes, broken, cancelled = self._describe()
        error, failure = ("client_left", "") if cancelled else self._error
        begin, end = nanoseconds(self._started), nanoseconds(self._ended)
        parent = "" if self.parent is None else self.parent.span_id
        told = {key: short(value) if isinstance(value, str) else value for key, value in attributes.items()}
        if self._served_by:
            told[f"torchserve.{self._of}.name"] = short(self._served_by)
        told |= self._generation()
        if error:
            told["error.type"] = error
        events = () if self._chunked is None else (Event("first_chunk", nanoseconds(self._chunked)),)
        root = Span(
            name, self.trace_id, self.span_id, parent, begin, end, SERVER, told, events,
            status=ERROR if broken else UNSET, failure=short(failure) if broken else "", state=self.state,
        )  # fmt: skip
        return [root, *self._waits(nanoseconds)]

    def _generation(self) -> dict[str, Any]:
        """Return the attributes of a request to a language model."""
        if self._asked is None:
            return {}
        found = self._asked | (answered_with(self._answer) if self._answer else {})
        return found if self._tokens is None else found | dict(usage(*self._tokens))
