"""A clock that a test moves, a tracer on it, and a reader of the trees that its spans make."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from torchserve.core.tracing.span import Span
from torchserve.core.tracing.tracer import Tracer


class Desk:
    """A tracer whose records are kept. Times are seconds, of `now` or of a `clock`; in spans, 1 s is a billion ns."""

    def __init__(self, rate: float = 1.0, clock: Callable[[], float] | None = None) -> None:
        self.now = 0.0
        self.records: list[Any] = []
        self.tracer = Tracer(rate, self.records.append, Random(7), clock or (lambda: self.now))

    def at(self, now: float) -> Desk:
        self.now = now
        return self

    def spans(self) -> list[Span]:
        return [span for record in self.records for span in record.spans(lambda at: round(at * 1e9))]


def tree(spans: Iterable[Span]) -> list[str]:
    """The spans as indented lines `name begin-end`, in seconds, roots first; children by their begin, then their name."""
    found = list(spans)
    known = {span.span_id for span in found}
    lines: list[str] = []

    def add(span: Span, depth: int) -> None:
        lines.append(f"{'  ' * depth}{span.name} {span.begin / 1e9:g}-{span.end / 1e9:g}")
        below = [each for each in found if each.parent_id == span.span_id]
        for each in sorted(below, key=lambda each: (each.begin, -each.end, each.name)):
            assert each.trace_id == span.trace_id
            add(each, depth + 1)

    for root in found:
        if root.parent_id not in known:
            add(root, 0)
    assert len(lines) == len(found)
    return lines
