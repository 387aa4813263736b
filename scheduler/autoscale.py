"""Autoscaler: how many workers a model should have, within its bounds, from what arrives, waits and takes. Pure.

What it compares is the load: the workers that would be busy all the time if batches had the size that pays. Between
the load at which it adds workers and the one at which it takes one away lies a wide gap, and time: it does not flap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HIGH = 0.8  # load per worker above which there are too few, if requests wait as well
AIM = 0.7  # load per worker that is aimed at then
LOW = 0.5  # load per worker, one worker less, below which there is one too many
MEMORY = 5.0  # s: how far back arrivals and waiting are looked at
CROWDED = 0.5  # share of that time in which requests waited and no worker was free
CATCH_UP = 10.0  # s in which what waits should be worked off
_MOMENT = 1e-3  # s: no rate can be told of less
RETRY = 60.0  # s without a further try once a worker could not be added


@dataclass(frozen=True, slots=True)
class Seen:
    """A model at one moment. `arrived` counts from its beginning, refused requests included; `pace` is the seconds of
    a worker that a request takes, 0 while that is not known; `loading` are those of `workers` that don't serve yet.
    """

    arrived: int
    queued: int
    free: int
    pace: float
    workers: int
    loading: int
    minimum: int
    maximum: int


class Autoscaler:
    """One model's. Ask it about every second; `load` and `crowded` are what it went by."""

    __slots__ = ("_arrived", "_calm", "_closed", "_down_after", "_rate", "_then", "crowded", "load")

    def __init__(self, down_after: float) -> None:
        """A worker is taken away once there was one too many for `down_after` seconds without a break."""
        self.load = 0.0
        self.crowded = 0.0
        self._down_after = down_after
        self._arrived = 0
        self._rate = 0.0
        self._then: float | None = None
        self._calm: float | None = None  # since when there has been one too many
        self._closed = -math.inf  # until then none is added

    def wanted(self, seen: Seen, now: float) -> int:
        """How many workers there should be, starting ones included."""
        self._look(seen, now)
        here = min(max(seen.workers, seen.minimum), seen.maximum)
        if not seen.workers:  # nothing runs, because nobody asked for it
            return here
        if self.crowded > CROWDED and self.load > HIGH * here:
            self._calm = None
            if here < seen.maximum and not seen.loading and now >= self._closed:
                return min(max(math.ceil(self.load / AIM), here + 1), seen.maximum)
        elif here > max(seen.minimum, 1) and self.crowded <= CROWDED and self.load < LOW * (here - 1):
            if self._calm is None:
                self._calm = now
            elif now - self._calm >= self._down_after:
                self._calm = now
                return here - 1
        else:
            self._calm = None
        return here

    def failed(self, now: float) -> None:
        """A worker that it wanted could not be added."""
        self._closed = now + RETRY

    def _look(self, seen: Seen, now: float) -> None:
        if self._then is None:
            self._then, self._arrived = now, seen.arrived
        passed = now - self._then
        if passed >= _MOMENT:
            weight = -math.expm1(-passed / MEMORY)
            self._rate += weight * ((seen.arrived - self._arrived) / passed - self._rate)
            self.crowded += weight * ((seen.queued > 0 and seen.free == 0) - self.crowded)
            self._then, self._arrived = now, seen.arrived
        self.load = seen.pace * (self._rate + seen.queued / CATCH_UP)
