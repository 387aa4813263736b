"""SeldomWarning: a warning that one client can cause thousands of times, logged at most once in some seconds."""

from __future__ import annotations

import logging
from time import monotonic

_QUIET = 60.0  # seconds


class SeldomLine:
    """A count of occasions of a kind, which says at most once in `quiet` seconds that a log line is due."""

    __slots__ = ("_count", "_next", "_quiet")

    def __init__(self, quiet: float = _QUIET) -> None:
        self._quiet = quiet
        self._count = 0
        self._next = 0.0

    def due(self) -> int:
        """Count one more occasion. Return how many there were since the last line if a line is due now, else 0."""
        self._count += 1
        now = monotonic()
        if now < self._next:
            return 0
        count, self._count = self._count, 0
        self._next = now + self._quiet
        return count


class SeldomWarning:
    """A kind of warning, of which at most one line in `quiet` seconds goes to `log`."""

    def __init__(self, log: logging.Logger, quiet: float = _QUIET) -> None:
        self._log = log
        self._line = SeldomLine(quiet)

    def warn(self, text: str, *values: object) -> None:
        """Log the warning, with the number of warnings since the last line, or only count it."""
        if count := self._line.due():
            self._log.warning(f"{text}; %d of the kind since the last such line", *values, count)
