"""LoadWait: tells a request how long it waited while its onDemand model was loaded, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from ..payload import Reply

if TYPE_CHECKING:
    from ...scheduler.job import Sink

WAIT, CAUSE = "x-torchserve-load-wait-ms", "x-torchserve-load-wait-cause"
_OURS = frozenset({WAIT, CAUSE})
_LEAST = 1e-3  # s: no model loads in less, but the cache answers for one that is not loaded


class Loads(Protocol):
    """An interface for what is known of a model's loads."""

    @property
    def cause(self) -> str:
        """Why the model was loaded last, in one word."""
        ...

    @property
    def outage(self) -> float:
        """The seconds in which no worker of the model has served, so far."""
        ...

    def waited(self, seconds: float, /) -> None:
        """Count a request that has waited for so long."""


class LoadWait:
    """A sink that adds to the first piece of an answer how long the request waited for the model to load.

    An answer that waited for nothing of the kind is passed on as it is.
    """

    __slots__ = ("_before", "_loads", "_over", "_sink")

    def __init__(self, sink: Sink, loads: Loads) -> None:
        self._sink = sink
        self._loads = loads
        self._before = loads.outage
        self._over = False

    def chunk(self, item: object) -> None:
        self._sink.chunk(item if self._over else self._told(item))

    def done(self, item: object) -> None:
        self._sink.done(item if self._over else self._told(item))

    def fail(self, error: Exception) -> None:
        if not self._over:
            _ = self._count()
        self._sink.fail(error)

    def _count(self) -> float:
        self._over = True
        waited = self._loads.outage - self._before
        if waited < _LEAST:
            return 0.0
        self._loads.waited(waited)
        return waited

    def _told(self, item: object) -> object:
        waited = self._count()
        if not waited or not isinstance(item, Reply):
            return item
        theirs = [field for field in item.headers if field[0].lower() not in _OURS]
        return replace(item, headers=(*theirs, (WAIT, f"{waited * 1e3:.3f}"), (CAUSE, self._loads.cause)))
