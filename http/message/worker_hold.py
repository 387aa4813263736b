"""WorkerHold: has the worker of a streamed answer wait until the client has taken some of the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

from .limits import Limits
from .seldom_warning import SeldomWarning

log = logging.getLogger(__name__)

_STEP = 1 << 20  # bytes that the client must take before the worker goes on
_ASKS = 1.0  # seconds between two calls of `remaining`

_slow = SeldomWarning(log)


class WorkerHold:
    """A wait of a worker for a client that has more than `max_unsent` bytes of a streamed answer to take.

    `remaining` holds the worker, and returns for how many seconds more it may be held. `go_on` releases the worker.
    `too_slow` is called if the client does not take _STEP bytes within that time, or within `worker_wait` seconds.
    `unsent` returns the client and the bytes that it has to take, for the log.
    """

    __slots__ = ("_go_on", "_remaining", "_timer", "_too_slow", "_unsent", "_until")

    def __init__(
        self,
        limits: Limits,
        unsent: Callable[[], tuple[object, int]],
        remaining: Callable[[], float],
        go_on: Callable[[], None],
        too_slow: Callable[[], None],
    ) -> None:
        self._unsent = unsent
        self._remaining = remaining
        self._go_on = go_on
        self._too_slow = too_slow
        self._until = monotonic() + limits.worker_wait
        self._timer: asyncio.Handle | None = None
        self.look()

    def look(self) -> None:
        """Hold the worker on, or end the client's connection if it had its time."""
        left = min(self._remaining(), self._until - monotonic())
        self.end()
        loop = asyncio.get_running_loop()
        if left > 0:
            self._timer = loop.call_later(min(left, _ASKS), self.look)
            return
        _slow.warn(
            "a streamed answer was ended: its client, %s, left %d bytes unread while its worker waited",
            *self._unsent(),
        )
        self._timer = loop.call_soon(self._too_slow)

    def taken(self) -> None:
        """Note that the client has taken enough: the worker goes on."""
        self.end()
        self._go_on()

    def end(self) -> None:
        """Stop watching the client."""
        if self._timer is not None:
            self._timer.cancel()


def goes_on_at(max_unsent: int) -> int:
    """Return the unsent bytes at which a worker goes on that waits for its client."""
    return max_unsent - min(_STEP, max_unsent // 2)
