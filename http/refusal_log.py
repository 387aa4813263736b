"""Refusals: one log line for many requests that a web page may be behind, since a page can send any number of them."""

from __future__ import annotations

import logging

from ..core.errors import ForeignSite
from .accesslog import peer_text
from .message.seldom_warning import SeldomLine

log = logging.getLogger(__name__)


class Refusals:
    """A counter of what SitePolicy refuses, which says so at most once a minute, with what to set if it was meant."""

    __slots__ = ("_line",)

    def __init__(self) -> None:
        self._line = SeldomLine()

    def note(self, peer: object, error: ForeignSite) -> None:
        """Count a refused request, and log it if a line is due."""
        if count := self._line.due():
            log.warning(
                "403 for %d request(s) since the last such line, the latest from %s: %s", count, peer_text(peer), error
            )
