"""SpareTime: when a worker may work on its model's speed instead of on requests. Pure: `now` is given, in seconds.

    a request ──► its answer ──► QUIET without a request ──► a step ──► a step ──► … until a request comes
                       │
                       └──► requests without a pause ──► a step once BETWEEN times the last one's time

A step is one run of the model, as a request's would be, so that no request waits for longer than for a request. Under
load that never pauses the model must become faster, too: there steps get a tenth of the time.
"""

from __future__ import annotations

from typing import Final

FIRST: Final = 0.5  # seconds after the load, in which the requests come that waited for it
QUIET: Final = 0.05  # seconds without a request after which none is expected at once
BETWEEN: Final = 9.0  # times of a step that requests get until the next one, where they don't pause


class SpareTime:
    """The turns of steps and requests. A step begins when `wait` is 0, or before a request if `owes` says so."""

    def __init__(self, now: float) -> None:
        self._quiet_at = now + FIRST
        self._began: float | None = None  # when the step began that runs
        self._ended = now
        self._cost = FIRST / BETWEEN  # seconds of the last step

    def wait(self, now: float) -> float:
        """Return for how many seconds no request may come, before a step may begin."""
        return max(0.0, self._quiet_at - now)

    def owes(self, now: float) -> bool:
        """Return whether a step may begin although requests wait: they have had their share of the time."""
        return now - self._ended >= BETWEEN * self._cost

    def answered(self, now: float) -> None:
        """Note that a request has been answered."""
        self._quiet_at = max(self._quiet_at, now + QUIET)

    def begins(self, now: float) -> None:
        """Note that a step begins."""
        self._began = now

    def ends(self, now: float) -> None:
        """Note that the step has ended, if one has begun."""
        if self._began is not None:
            self._ended = now
            self._cost = now - self._began
            self._began = None
