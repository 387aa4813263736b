"""Autoscaler: how many workers a model should have, within its bounds, from what arrives, waits and takes. Pure.

What it compares is the load: the number of workers that would be busy all the time if batches had the size that pays,
that is, what arrives per second and what waits (to be worked off in CATCH_UP s), times the seconds of a worker that a
request takes.

    more workers     requests waited with no worker free for more than CROWDED of the last seconds, and the load is over
                     HIGH per worker: so many are added that it is AIM per worker. None is added while one still loads,
                     while the latest addition is on trial, or for RETRY s after one could not be added.
    trial            added workers that share a GPU, or cores, with the others may only slow these down. If it is still
                     crowded when they have served for PROOF s, and they have not added at least WORTH of their share,
                     the number goes back to what it was, and no more are tried for REGRET s.
    one worker less  it was not crowded, and the load was under LOW per worker that would be left, for `down_after` s
                     without a break.

Between the load that adds workers and the one that takes one away lies a wide gap, and time, so that the number does
not flap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HIGH = 0.8  # load per worker above which there are too few, if requests wait as well
AIM = 0.7  # load per worker that is aimed at then
LOW = 0.5  # load per worker, with one worker less, below which there is one too many
MEMORY = 5.0  # s: how far back arrivals and waiting are looked at
CROWDED = 0.5  # share of that time in which requests waited and no worker was free
CATCH_UP = 10.0  # s in which what waits should be worked off
PROOF = 15.0  # s that new workers have to show that they help, in a crowd that lasts
WORTH = 0.25  # least share of their part in the work that they have to add
REGRET = 600.0  # s without a further addition once one did not help
RETRY = 60.0  # s without a further addition once a worker could not be added
_MIN_INTERVAL = 1e-3  # s between two observations that give a rate


@dataclass(frozen=True, slots=True)
class Observation:
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
    """An addition of workers, from `before` to `after`, that has yet to help; all of them serve `since` (s) then."""

    before: int
    after: int
    seconds_per_job: float
    since: float | None = None


class Autoscaler:
    """The autoscaler of one model. `load` and `crowded` are what its latest decision went by."""

    __slots__ = (
        "_arrived", "_calm_since", "_ceiling", "_ceiling_until", "_closed_until", "_down_after", "_observed_at",
        "_rate", "_trial", "crowded", "load",
    )  # fmt: skip

    def __init__(self, down_after: float) -> None:
        """Take a worker away once there was one too many for `down_after` seconds without a break."""
        self.load = 0.0
        self.crowded = 0.0
        self._down_after = down_after
        self._arrived = 0
        self._rate = 0.0  # arrivals per second, averaged
        self._observed_at: float | None = None
        self._calm_since: float | None = None  # since when there has been one too many
        self._closed_until = -math.inf  # no worker is added until then
        self._trial: _Trial | None = None
        self._ceiling, self._ceiling_until = 0, -math.inf  # more workers than this did not help; believed until then

    def wanted(self, observed: Observation, now: float) -> int:
        """Return how many workers there should be, those that are starting included. Call it about every second."""
        self._update(observed, now)
        workers = min(max(observed.workers, observed.minimum), observed.maximum)
        if not observed.workers:  # nothing runs, because nobody asked for it
            return workers
        if self._trial is not None and self._trial_failed(self._trial, observed, workers, now):
            return max(self._ceiling, observed.minimum)
        if self.crowded > CROWDED and self.load > HIGH * workers:
            self._calm_since = None
            return self._more(observed, workers, now)
        if workers > max(observed.minimum, 1) and self.crowded <= CROWDED and self.load < LOW * (workers - 1):
            if self._calm_since is None:
                self._calm_since = now
            elif now - self._calm_since >= self._down_after:
                self._calm_since = now
                return workers - 1
        else:
            self._calm_since = None
        return workers

    def failed(self, now: float) -> None:
        """Note that a worker that was wanted could not be added."""
        self._closed_until = now + RETRY

    def _more(self, observed: Observation, workers: int, now: float) -> int:
        """Return the number of workers that brings the load to AIM each, and begin its trial, if any may be added."""
        most = observed.maximum if now >= self._ceiling_until else min(self._ceiling, observed.maximum)
        if workers >= most or observed.loading or self._trial is not None or now < self._closed_until:
            return workers
        more = min(max(math.ceil(self.load / AIM), workers + 1), most)
        self._trial = _Trial(workers, more, observed.seconds_per_job)
        return more

    def _trial_failed(self, trial: _Trial, observed: Observation, workers: int, now: float) -> bool:
        """Return whether the added workers have had their time and did not help; a trial that is over is forgotten."""
        if workers != trial.after or self.crowded <= CROWDED:  # others have changed the number, or it sufficed
            self._trial = None
        elif observed.loading:
            trial.since = None
        elif trial.since is None:
            trial.since = now
        elif now - trial.since >= PROOF:
            self._trial = None
            growth = trial.after / trial.before
            if growth * trial.seconds_per_job < (1.0 + WORTH * (growth - 1.0)) * observed.seconds_per_job:
                self._ceiling, self._ceiling_until = trial.before, now + REGRET
                return True
        return False

    def _update(self, observed: Observation, now: float) -> None:
        """Update the moving averages, and `load` by them."""
        if self._observed_at is None:
            self._observed_at, self._arrived = now, observed.arrived
        passed = now - self._observed_at
        if passed >= _MIN_INTERVAL:
            weight = -math.expm1(-passed / MEMORY)
            self._rate += weight * ((observed.arrived - self._arrived) / passed - self._rate)
            self.crowded += weight * ((observed.queued > 0 and observed.free == 0) - self.crowded)
            self._observed_at, self._arrived = now, observed.arrived
        self.load = observed.seconds_per_job * (self._rate + observed.queued / CATCH_UP)
