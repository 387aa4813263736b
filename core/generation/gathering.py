"""Gathering: the time in which an idle engine waits for further requests.

An idle engine would begin its first step with the first of several requests that come together, and all others would
wait for that step's end. They come one by one, since the front and this loop take each by itself: sixteen are here
some 10 ms after the first. So the engine begins once none has come for a while, which is little beside a step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

QUIET = 2e-3  # seconds without a further request after which the engine begins
AT_MOST = 20e-3  # seconds after the first request


class Gathering:
    """A timer that calls `begin` when all requests that come together are there."""

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self._timer: asyncio.TimerHandle | None = None
        self._latest = 0.0

    @property
    def lasts(self) -> bool:
        """Whether the engine waits."""
        return self._timer is not None

    def came(self) -> None:
        """Wait for requests that come soon after this one. Call it on the event loop."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._timer is None:
            self._latest = now + AT_MOST
        else:
            self._timer.cancel()
        self._timer = loop.call_at(min(now + QUIET, self._latest), self._end)

    def _end(self) -> None:
        self._timer = None
        self._begin()
