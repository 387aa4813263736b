"""StepTrace: what is noted of a step of a recorded request that is queued by itself: a workflow's node, or a call of
another model.
"""

from __future__ import annotations

from collections.abc import Sequence

from .span import ERROR, UNSET, Attributes, Link, Span, short
from .trace_notes import Nanoseconds, TraceNotes

MOST_STEPS = 128  # below one span: a handler may call other models as often as it likes


class StepTrace(TraceNotes):
    """The notes of one step. It is in the trace of `above`, below the span `parent_id`."""

    __slots__ = ("_attributes", "_links", "_name", "_over", "_parent_id")

    def __init__(
        self, above: TraceNotes, parent_id: str, name: str, attributes: Attributes, links: Sequence[Link] = ()
    ) -> None:
        super().__init__(above.source, above.trace_id, above.flags, above.state, above.source.now())
        self._parent_id = parent_id
        self._name = name
        self._attributes = attributes
        self._links = tuple(links)
        self._queued = self._started
        self._over = False

    def end(self, error: BaseException | None = None, *, left: bool = False) -> None:
        """Note that the step has its outcome, an `error` if it failed; or that nobody waits for it any more.

        The first call counts, and hands the trace on.
        """
        if self._over:
            return
        self._over = True
        self._ended = self.source.now()
        if error is not None:
            self.failed(error)
        elif left:
            self._error = "cancelled", ""
        self.source.offer(self)

    def refused(self, error: BaseException) -> None:
        """Note that the queue did not take the step's request, and hand the trace on."""
        self._queued = None
        self.end(error)

    def spans(self, nanoseconds: Nanoseconds) -> list[Span]:
        """Return the step's span and, below it, those of its queues and of batches in other traces."""
        kind, failure = self._error
        broken = bool(kind) and kind != "cancelled"
        attributes = {key: short(value) if isinstance(value, str) else value for key, value in self._attributes.items()}
        if kind:
            attributes["error.type"] = kind
        span = Span(
            self._name, self.trace_id, self.span_id, self._parent_id, nanoseconds(self._started),
            nanoseconds(self._ended), attributes=attributes, links=self._links, status=ERROR if broken else UNSET,
            failure=short(failure) if broken else "", state=self.state,
        )  # fmt: skip
        return [span, *self._waits(nanoseconds)]


def begin_step(above: TraceNotes | None, name: str, attributes: Attributes) -> StepTrace | None:
    """Return the notes of a step of `above` that begins now, None if that isn't recorded or has too many steps."""
    if above is None:
        return None
    above.steps += 1
    return StepTrace(above, above.span_id, name, attributes) if above.steps <= MOST_STEPS else None
