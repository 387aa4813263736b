"""CircuitBreaker: keeps requests from waiting for a service that has failed of late. Pure: the time (s) is an argument.

closed ──FAILURES in a row──► open ──pause over──► one trial ──success──► closed
                               ▲                       └─failure─► open, for twice as long
                               └───────────────────────────────────┘
"""

from __future__ import annotations

FAILURES = 3  # in a row, after which nothing is asked for a while
SHORTEST, LONGEST = 1.0, 30.0  # s for which nothing is asked


class CircuitBreaker:
    """The state of the service: `closed` while requests may go through."""

    __slots__ = ("_failures", "_pause", "_trial", "_until", "opened")

    def __init__(self) -> None:
        self._failures = 0
        self._pause = SHORTEST
        self._until = 0.0
        self._trial = False
        self.opened = 0  # how often it has opened

    @property
    def closed(self) -> bool:
        """Whether the service is taken to be well."""
        return self._failures < FAILURES

    def would_allow(self, now: float) -> bool:
        """Return whether the service may be asked, without asking it."""
        return self.closed or not (self._trial or now < self._until)

    def allows(self, now: float) -> bool:
        """Return whether the service may be asked, which the caller must then do, and report by how it ended."""
        if not self.would_allow(now):
            return False
        self._trial = not self.closed
        return True

    def succeeded(self) -> None:
        """Record an answer."""
        self._failures = 0
        self._pause = SHORTEST
        self._trial = False

    def failed(self, now: float) -> None:
        """Record that no answer came."""
        was_closed = self.closed
        self._failures += 1
        if self.closed or not (was_closed or self._trial):
            return  # of those that were under way when it opened
        if self._trial:
            self._pause = min(2 * self._pause, LONGEST)
        self._trial = False
        self._until = now + self._pause
        self.opened += 1

    def abandoned(self) -> None:
        """Record that what was asked was given up before it could answer or fail."""
        self._trial = False
