"""ClientWait: has the worker of a streamed answer wait until the client of the call has taken some of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

from ...core.dataplane import Ticket
from ..message.limits import Limits
from ..message.seldom_warning import SeldomWarning

log = logging.getLogger(__name__)

_ASKS = 1.0  # seconds between two calls of `hold`

_slow = SeldomWarning(log)


class ClientWait:
    """A wait of a worker for the client of a call that has more than `max_unsent` bytes to take.

    `too_slow` is called if the client does not take enough within the time that the worker may be held, or within
    `worker_wait` seconds.
    """

    __slots__ = ("_ticket", "_timer", "_too_slow", "_until")

    def __init__(self, ticket: Ticket, limits: Limits, too_slow: Callable[[], None]) -> None:
        self._ticket = ticket
        self._too_slow = too_slow
        self._until = monotonic() + limits.worker_wait
        self._timer: asyncio.Handle | None = None
        self._look()

    def _look(self) -> None:
        left = min(self._ticket.hold(), self._until - monotonic())
        loop = asyncio.get_running_loop()
        if left > 0:
            self._timer = loop.call_later(min(left, _ASKS), self._look)
            return
        _slow.warn("a streamed answer was ended: its client took too little of it while its worker waited")
        self._timer = loop.call_soon(self._too_slow)

    def taken(self) -> None:
        """Let the worker go on: the client has taken enough."""
        self.end()
        self._ticket.release()

    def end(self) -> None:
        """Stop watching the client."""
        if self._timer is not None:
            self._timer.cancel()
