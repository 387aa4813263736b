"""SeldomWarning: a warning that one client can cause thousands of times, logged at most once a minute."""

from __future__ import annotations

import logging
from time import monotonic

_QUIET = 60.0  # seconds


class SeldomWarning:
    """A kind of warning, of which at most one line in `quiet` seconds goes to `log`."""

    def __init__(self, log: logging.Logger, quiet: float = _QUIET) -> None:
        self._log = log
        self._quiet = quiet
        self._count = 0
        self._next = 0.0

    def warn(self, text: str, *values: object) -> None:
        """Log the warning, with the number of warnings since the last line, or only count it."""
        self._count += 1
        now = monotonic()
        if now >= self._next:
            self._log.warning(f"{text}; %d of the kind since the last such line", *values, self._count)
            self._count = 0
            self._next = now + self._quiet
