"""Tracer: decides which requests are recorded, and hands their notes to the exporter.

The decision is the caller's where it sends a traceparent, else it is drawn by the rate. A request that is not recorded
costs this decision and has no object of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from time import monotonic
from typing import TypeAlias

from .request_trace import RequestTrace
from .trace_parent import SAMPLED, TraceParent

Export: TypeAlias = Callable[[object], object]
"""Takes what was noted of a request or a batch, a Record. It must not block."""


class Tracer:
    """A maker of traces. `rate` is the part of the requests without a caller's decision that is recorded."""

    def __init__(
        self, rate: float, export: Export, random: Random | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        """Make traces whose times are on the scheduler's clock."""
        self._rate = rate
        self.offer = export
        self.now = clock
        source = random or Random()  # noqa: S311  (ids are no secrets)
        self._draw: Callable[[], float] = source.random
        self._bits: Callable[[int], int] = source.getrandbits

    def begin(self, parent: TraceParent | None) -> RequestTrace | None:
        """Return the trace of a request that begins now, None if it is not recorded."""
        if parent is None:
            if self._draw() >= self._rate:
                return None
            trace_id = f"{self._bits(128) or 1:032x}"
        elif parent.flags & SAMPLED:
            trace_id = parent.trace_id
        else:
            return None
        return RequestTrace(self, parent, trace_id, self.now())

    def new_span_id(self) -> str:
        """Return a new span id."""
        return f"{self._bits(64) or 1:016x}"
