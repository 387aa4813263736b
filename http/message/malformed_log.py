"""MalformedRequestLog: the log's line about messages that could not be read as requests."""

from __future__ import annotations

import logging

from .seldom_warning import SeldomLine

log = logging.getLogger(__name__)

_QUIET = 10.0  # seconds between two log lines about malformed messages


class MalformedRequestLog:
    """A log of malformed messages: one line at most every ten seconds, with the number since."""

    def __init__(self) -> None:
        self._line = SeldomLine(_QUIET)

    def note(self, peer: object, cause: str) -> None:
        """Count a malformed message, and log it if a line is due."""
        if count := self._line.due():
            log.warning(
                "malformed HTTP: %d message(s) since the last such line, the latest from %s (%s)", count, peer, cause
            )
