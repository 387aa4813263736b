"""Refusals: one log line for many requests that a web page may be behind, since a page can send any number of them."""

from __future__ import annotations

import logging
from time import monotonic

from ..core.errors import ForeignSite
from .accesslog import peer_text

log = logging.getLogger(__name__)

_QUIET = 60.0  # seconds between two log lines


class Refusals:
    """A counter of what SitePolicy refuses, which says so at most once a minute, with what to set if it was meant."""

    __slots__ = ("_count", "_next")

    def __init__(self) -> None:
        self._count = 0
        self._next = 0.0

    def note(self, peer: object, error: ForeignSite) -> None:
        self._count += 1
        now = monotonic()
        if now >= self._next:
            log.warning(
                "403 for %d request(s) since the last such line, the latest from %s: %s",
                self._count, peer_text(peer), error,
            )  # fmt: skip
            self._count = 0
            self._next = now + _QUIET
