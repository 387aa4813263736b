"""UnsentStreams: the answers of one HTTP/2 connection that its client has not taken, as UnsentLimit counts them."""

from __future__ import annotations

import asyncio
from time import monotonic

from ...message.unsent_answers import UnsentLimit
from .outbox import Outbox


class UnsentStreams:
    """The bytes in the transport, and those that wait under flow control.

    The time limit here is on the transport's bytes. Those that a stream's window holds up are the connection's to look
    at (`Connection.look`), as a client may well take one answer and leave another.
    """

    __slots__ = ("_joined", "_moved", "_outbox", "_since", "_taken", "_total", "_transport", "_written", "size")

    def __init__(self, total: UnsentLimit, transport: asyncio.Transport, outbox: Outbox) -> None:
        self._total = total
        self._transport = transport
        self._outbox = outbox
        self._joined = False
        self._since = self._moved = 0.0
        self._written = self._taken = 0  # bytes, since the connection began
        self.size = 0

    def count(self, written: int) -> None:
        """Count what is kept now: `written` bytes more were given to the transport."""
        self._written += written
        left = self._transport.get_write_buffer_size()
        kept = left + self._outbox.kept
        if not kept:
            self.leave()
        elif self._joined:
            self._total.resize(self, kept)
        else:
            self._joined = True
            self._since = self._moved = monotonic()
            self._taken = self._written - left
            self._total.join(self, kept)

    def leave(self) -> None:
        """Note that nothing is kept any more, or the connection is lost."""
        if self._joined:
            self._joined = False
            self._total.leave(self)

    # ---- unsent_answers.Waiting

    def look(self, now: float) -> float:
        """Count what is kept now. Return for how many seconds the client has taken nothing of the transport's bytes."""
        left = self._transport.get_write_buffer_size()
        if self._written - left > self._taken or not left:
            self._taken, self._moved = self._written - left, now
        kept = left + self._outbox.kept
        self._total.resize(self, kept)
        if not kept:
            self.leave()
        return now - self._moved if left else 0.0

    def cost(self, now: float) -> float:
        """Return what it has cost to keep these answers, in bytes times seconds."""
        return self.size * (now - self._since)

    def end(self) -> None:
        """End the connection at once, and drop the bytes that the client has not taken."""
        self.leave()
        self._transport.abort()

    def __str__(self) -> str:
        return f"{self.size} bytes, to {self._transport.get_extra_info('peername')}"
