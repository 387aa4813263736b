"""BatchTrace: what is noted of a batch with sampled requests, and the spans of batch, worker, handler and its hooks.

A batch is one piece of work for many requests, so that it has one span: in the trace of the first sampled request,
linked to all of them. The others have a span in its place that links to it.

The worker's process may be on another machine, whose clock is another one: it tells how long after it had the batch
something began and ended. What was not spent there was spent on the way, half of it in each direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .span import ERROR, UNSET, Attributes, Link, Span, short
from .step_trace import MOST_STEPS, StepTrace
from .trace_notes import Nanoseconds, TraceNotes
from .trace_parent import parent_text

_Stage = tuple[str, float, float]


class Formed(NamedTuple):
    """A batch as it was handed to a worker: when it was released, on the clock of `time.monotonic`, and why."""

    at: float
    attributes: Attributes
    worker: str


class Done(NamedTuple):
    """A worker's account of a batch, in seconds from when it had it: all it took, its handler, and the hooks of that.

    `failure` is why the batch failed as a whole, "" if it did not.
    """

    total: float
    handler: tuple[float, float]
    hooks: Sequence[_Stage]
    failure: str = ""


class BatchTrace:
    """The notes of one batch. `owner` is the request whose trace has the batch's own spans."""

    __slots__ = ("_calls", "_done", "_ended", "_formed", "_members", "_sent", "owner", "span_id", "worker_id")

    def __init__(self, members: Sequence[tuple[TraceNotes, float]], formed: Formed) -> None:
        """Note a batch with these requests, each with when it was queued."""
        self._members = [trace for trace, _ in members]
        self._formed = formed
        self.owner = self._members[0]
        self.span_id = self.owner.source.new_span_id()
        self.worker_id = self.owner.source.new_span_id()
        self._sent = self._ended = formed.at
        self._done: Done | None = None
        self._calls = 0
        for trace, queued in members:
            trace.ran(queued, formed.at, self)

    @property
    def attributes(self) -> Attributes:
        """What is told of the batch."""
        return self._formed.attributes

    @property
    def parent(self) -> str:
        """The traceparent of what happens in the worker."""
        return parent_text(self.owner.trace_id, self.worker_id, self.owner.flags)

    @property
    def trace_ids(self) -> str:
        """The trace ids of the sampled requests, joined by commas."""
        return ",".join(dict.fromkeys([each.trace_id for each in self._members]))

    def withdraw(self) -> None:
        """Forget the batch, which never began: its requests wait again."""
        for each in self._members:
            each.withdrawn(self)

    def call(self, requests: Sequence[TraceNotes], attributes: Attributes) -> StepTrace | None:
        """Return the notes of a call that the handler makes now for these `requests`, None if it has made too many."""
        self._calls += 1
        if self._calls > MOST_STEPS:
            return None
        links = [Link(each.trace_id, each.span_id) for each in requests if each is not self.owner]
        return StepTrace(self.owner, self.worker_id, "call", attributes, links)

    def answered(self, done: Done) -> None:
        """Note the worker's account of the batch."""
        self._done = done

    def end(self, sent: float) -> None:
        """Note that the batch, which the worker began at `sent`, has ended, and hand the trace on."""
        self._sent, self._ended = sent, self.owner.source.now()
        self.owner.source.offer(self)

    def spans(self, nanoseconds: Nanoseconds) -> list[Span]:
        """Return the spans of the batch, its worker, the handler, and the handler's hooks."""
        owner, formed, done = self.owner, self._formed, self._done
        failure = "the worker gave no answer" if done is None else short(done.failure)
        status = ERROR if failure else UNSET

        def span(name: str, span_id: str, parent: str, begin: float, end: float) -> Span:
            return Span(
                name, owner.trace_id, span_id, parent, nanoseconds(begin), nanoseconds(max(begin, end)),
                status=status, failure=failure, state=owner.state,
            )  # fmt: skip

        batch = span("batch", self.span_id, owner.span_id, formed.at, self._ended)
        batch.attributes.update(formed.attributes)
        batch.links = tuple([Link(each.trace_id, each.span_id) for each in self._members])
        worker = span("worker", self.worker_id, self.span_id, self._sent, self._ended)
        worker.attributes["torchserve.worker.name"] = formed.worker
        spans = [batch, worker]
        if done is None:
            return spans
        # Never before it was sent, whatever a worker says.
        had = self._sent + max(0.0, self._ended - self._sent - done.total) / 2
        began, ended = done.handler
        handler = span("handler", owner.source.new_span_id(), self.worker_id, had + began, had + ended)
        spans.append(handler)
        for name, begin, end in done.hooks:
            hook = span(name, owner.source.new_span_id(), handler.span_id, had + begin, had + end)
            hook.status, hook.failure = UNSET, ""
            spans.append(hook)
        return spans
