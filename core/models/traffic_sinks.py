"""The sinks of steered requests: `Watched` of the one that a client waits for, `Copy` of the one that a shadow gets."""

from __future__ import annotations

import math
from collections.abc import Callable

import orjson

from ...scheduler.job import Sink
from ..errors import HandlerFailed, ServeError
from ..payload import Reply
from .traffic import Traffic

_MOST_READ = 1 << 16  # bytes of a JSON that is compared value by value
_CLOSE = 1e-3  # relative difference of numbers that are called close


class Watched:
    """The sink of a request that was steered: it passes everything on, and tells the traffic how the request ended."""

    __slots__ = ("_begun", "_clock", "_copy", "_sink", "_traffic", "_version")

    def __init__(self, sink: Sink, traffic: Traffic, version: str, clock: Callable[[], float]) -> None:
        self._sink = sink
        self._traffic = traffic
        self._version = version
        self._clock = clock
        self._begun = clock()
        self._copy: Copy | None = None

    def copied(self) -> Copy:
        """Return the sink of a copy of the request."""
        self._copy = Copy(self._traffic)
        return self._copy

    def chunk(self, item: object) -> None:
        """Pass on a piece of a streamed answer, which is compared with nothing."""
        if self._copy is not None:
            self._copy.unmatched()
            self._copy = None
        self._sink.chunk(item)

    def done(self, item: object) -> None:
        """Pass on the answer, and compare it with the copy's once that is there."""
        self._sink.done(item)
        failed = isinstance(item, Reply) and item.status >= 500
        self._ended(failed=failed)
        if self._copy is not None and isinstance(item, Reply):
            self._copy.first_answered(item)

    def fail(self, error: Exception) -> None:
        """Pass on the error."""
        self._sink.fail(error)
        self.refused(error)

    def refused(self, error: Exception) -> None:
        """Record that the request failed with `error`, which the sink need not be told."""
        self._ended(failed=is_models_fault(error))
        if self._copy is not None:
            self._copy.unmatched()

    def _ended(self, *, failed: bool) -> None:
        now = self._clock()
        self._traffic.ended(self._version, now - self._begun, failed=failed, now=now)


class Copy:
    """The sink of a copy: its answer is compared with the first, which the client got, and thrown away."""

    __slots__ = ("_first", "_over", "_second", "_traffic")

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._first: Reply | None = None
        self._second: Reply | None = None
        self._over = False  # whether the outcome was counted

    def first_answered(self, reply: Reply) -> None:
        """Take the answer that the client got."""
        self._first = reply
        self._compare()

    def unmatched(self) -> None:
        """Record that the client got no whole answer to compare with."""
        self._count("unmatched")

    def chunk(self, item: object) -> None:
        """Drop a piece of a streamed answer."""
        self._count("unmatched")

    def done(self, item: object) -> None:
        """Take the copy's answer."""
        self._traffic.copy_ended()
        self._second = item if isinstance(item, Reply) else None
        self._compare()

    def fail(self, error: Exception) -> None:
        """Count the copy as failed."""
        self._traffic.copy_ended()
        self._count("failed")

    def _compare(self) -> None:
        if self._first is not None and self._second is not None:
            self._count(likeness(self._first, self._second))

    def _count(self, outcome: str) -> None:
        if not self._over:
            self._over = True
            self._traffic.compared(outcome)
        self._first = self._second = None


def likeness(first: Reply, second: Reply) -> str:
    """Return how alike two answers are: same, close (JSON whose numbers differ by a thousandth at most), different."""
    if first.status != second.status:
        return "different"
    if bytes(first.body) == bytes(second.body):
        return "same"
    if max(len(first.body), len(second.body)) > _MOST_READ:
        return "different"
    try:
        left, right = orjson.loads(first.body), orjson.loads(second.body)
        return "close" if _close(left, right) else "different"
    except (orjson.JSONDecodeError, RecursionError):
        return "different"


def _close(left: object, right: object) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_close(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_close, left, right))
    if isinstance(left, int | float) and isinstance(right, int | float) and type(left) is not bool:
        return math.isclose(left, right, rel_tol=_CLOSE, abs_tol=1e-9)
    return left == right


def is_models_fault(error: BaseException) -> bool:
    """Return whether a failure counts against the version: not if the request itself was wrong."""
    if isinstance(error, HandlerFailed):
        return error.status >= 500
    return not isinstance(error, ServeError) or error.kind in {"broken", "overloaded", "expired"}
