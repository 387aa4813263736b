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
PROOF = 15.0  # s that new workers have to show that they help, in a crowd that lasts
WORTH = 0.25  # share of their part in the work that they have to add: less, and they only slow the others down
REGRET = 600.0  # s without a further try once they did not
_MOMENT = 1e-3  # s: no rate can be told of less
RETRY = 60.0  # s without a further try once a worker could not be added


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of a model at one moment.

    `arrived` counts its requests from its beginning, refused ones included; `seconds_per_job` is the seconds of a
    worker that a request takes, 0 while that is not known; `loading` are those of `workers` that don't serve yet.
    """

    arrived: int
    queued: int
    free: int
    seconds_per_job: float
    workers: int
    loading: int
    minimum: int
    maximum: int


@dataclass(slots=True)
class _Trial:
    """Workers were added: from `before` to `after`. `since` then all of them serve."""

    before: int
    after: int
    seconds_per_job: float
    since: float | None = None


class Autoscaler:
    """One model's. Ask it about every second; `load` and `crowded` are what it went by."""

    __slots__ = (
        "_arrived", "_calm", "_ceiling", "_closed", "_down_after", "_rate", "_regret", "_then", "_trial", "crowded",
        "load",
    )  # fmt: skip

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
        self._trial: _Trial | None = None
        self._ceiling, self._regret = 0, -math.inf  # more than so many did not help; until when that is believed

    def wanted(self, seen: Seen, now: float) -> int:
        """How many workers there should be, starting ones included."""
        self._look(seen, now)
        here = min(max(seen.workers, seen.minimum), seen.maximum)
        if not seen.workers:  # nothing runs, because nobody asked for it
            return here
        if self._trial is not None and self._in_vain(self._trial, seen, here, now):
            return max(self._ceiling, seen.minimum)
        if self.crowded > CROWDED and self.load > HIGH * here:
            self._calm = None
            most = seen.maximum if now >= self._regret else min(self._ceiling, seen.maximum)
            if here < most and not seen.loading and self._trial is None and now >= self._closed:
                more = min(max(math.ceil(self.load / AIM), here + 1), most)
                self._trial = _Trial(here, more, seen.seconds_per_job)
                return more
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

    def _in_vain(self, trial: _Trial, seen: Seen, here: int, now: float) -> bool:
        """Whether what was added has had its time, and the workers do hardly more than before: they share a GPU, or
        cores, that had no more to give.
        """
        if here != trial.after or self.crowded <= CROWDED:  # others have changed it, or it sufficed
            self._trial = None
        elif seen.loading:
            trial.since = None
        elif trial.since is None:
            trial.since = now
        elif now - trial.since >= PROOF:
            self._trial = None
            share = trial.after / trial.before
            if share * trial.seconds_per_job < (1.0 + WORTH * (share - 1.0)) * seen.seconds_per_job:
                self._ceiling, self._regret = trial.before, now + REGRET
                return True
        return False

    def _look(self, seen: Seen, now: float) -> None:
        if self._then is None:
            self._then, self._arrived = now, seen.arrived
        passed = now - self._then
        if passed >= _MOMENT:
            weight = -math.expm1(-passed / MEMORY)
            self._rate += weight * ((seen.arrived - self._arrived) / passed - self._rate)
            self.crowded += weight * ((seen.queued > 0 and seen.free == 0) - self.crowded)
            self._then, self._arrived = now, seen.arrived
        self.load = seen.seconds_per_job * (self._rate + seen.queued / CATCH_UP)
