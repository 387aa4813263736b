"""StallWatch: gives up the calls whose message does not come, by one timer for all of them.

A timer for each call would cost more than to read a small message, and nearly all of them would be cancelled at once.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

from ..app_context import AppContext

_LOOKS = 4  # at each call within the shortest time that it may stall


class Waiting(Protocol):
    """An interface for a call whose message is to come. `heard` is when something of it came, or it began."""

    heard: float

    def stalled(self, seconds: float) -> None:
        """Give up the call, of which nothing came for so long."""


class StallWatch:
    """The calls of one listener whose messages are on their way. Its timer runs while there are any."""

    __slots__ = ("_context", "_timer", "_waiting")

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._waiting: dict[Waiting, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def join(self, call: Waiting) -> None:
        """Watch a call until it leaves. It may have joined before."""
        self._waiting[call] = None
        if self._timer is None:
            self._start()

    def leave(self, call: Waiting) -> None:
        """Watch a call no more."""
        self._waiting.pop(call, None)

    def _start(self) -> None:
        limits = self._context.limits
        interval = min(limits.body_idle, limits.drain_idle) / _LOOKS
        self._timer = asyncio.get_running_loop().call_later(interval, self._look)

    def _look(self) -> None:
        self._timer = None
        limits, now = self._context.limits, monotonic()
        seconds = limits.drain_idle if self._context.draining else limits.body_idle
        for call in [each for each in self._waiting if now - each.heard > seconds]:
            self.leave(call)
            call.stalled(seconds)
        if self._waiting:
            self._start()
