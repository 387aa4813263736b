"""Outages: for how long no worker of a model version has served."""

from __future__ import annotations

import time
from collections.abc import Callable


class Outages:
    """A count of the seconds in which no worker served, from the making of this object on.

    `number` is how many times that was so: it is when this begins. A request has waited for a load by as much as
    `seconds` has grown between its arrival and its answer, since none is counted while a worker runs it.
    """

    __slots__ = ("_clock", "_past", "_serving", "_since", "number")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._serving: set[object] = set()
        self._past = 0.0
        self._since = clock()
        self.number = 1

    @property
    def going_on(self) -> bool:
        """Whether no worker serves now."""
        return not self._serving

    @property
    def seconds(self) -> float:
        """All seconds without a worker, the present ones included."""
        return self._past if self._serving else self._past + self._clock() - self._since

    def began(self, worker: object) -> None:
        """Note that a worker serves from now on."""
        self._past = self.seconds
        self._serving.add(worker)

    def ended(self, worker: object) -> None:
        """Note that a worker has ended, which may never have served."""
        if worker in self._serving:
            self._serving.discard(worker)
            if not self._serving:
                self._since = self._clock()
                self.number += 1
