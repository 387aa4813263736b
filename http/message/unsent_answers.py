"""UnsentAnswers: what one client has not taken yet of its answers; UnsentLimit: that of all clients, with its bounds.

A transport keeps what the kernel does not take. As its limits are zero here, it says `pause_writing` when that begins
and `resume_writing` when all of it has gone. A connection in between waits for its client, and UnsentLimit looks at it:

- The client must take something every `write_stall` seconds. What counts is what the client took: an answer that is
  added meanwhile is no sign of life.
- All of them together may keep `max_unsent_total` bytes. Beyond that the connection whose unread answers have cost
  most, in bytes times seconds, is ended, and so on until the rest fits: a client that does not read at all goes before
  one that reads slowly, and one that has just got its answer goes last.

A connection reads no further request while it waits, so that it keeps one answer at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

from ...core.payload import Body
from .limits import Limits
from .seldom_warning import SeldomWarning
from .worker_hold import WorkerHold

log = logging.getLogger(__name__)

_COPY_UNDER = 16 * 1024  # smaller answers go out in one buffer: joining them costs less than a second system call
_LOOKS = 4  # at each waiting connection per write_stall


class UnsentAnswers:
    """The answers of one connection. Its protocol hands `pause_writing` and `resume_writing` on to this."""

    __slots__ = (
        "_hold",
        "_largest",
        "_moved",
        "_since",
        "_taken",
        "_total",
        "_transport",
        "_written",
        "size",
        "waiting",
    )

    def __init__(self, total: UnsentLimit, transport: asyncio.Transport) -> None:
        self._total = total
        self._transport = transport
        self._since = self._moved = 0.0
        self._written = self._taken = 0  # bytes, since it began to wait
        self._largest = 0  # of the buffers among them: the transport keeps all of one until its last byte is taken
        self.size = 0  # bytes that it keeps, as of the last look
        self.waiting = False
        self._hold: WorkerHold | None = None
        self._watch()

    def _watch(self) -> None:
        """Have the transport tell of the first byte that is unsent, and of the last."""
        # A TLS transport with limits of zero would say that it is full when it is empty.
        tls = self._transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=1 if tls else 0, low=0)

    def pause_writing(self) -> None:
        """Note that the kernel has not taken all."""
        if self.waiting:
            return
        self.waiting = True
        self._since = self._moved = monotonic()
        self._written, self._taken = self._transport.get_write_buffer_size(), 0
        self._largest = 0
        self._total.join(self, self._written)

    def resume_writing(self) -> None:
        """Note that all has gone or, while a worker waits for the client, enough of it."""
        hold = self._hold
        self.end_hold()
        if self.waiting and not (hold is not None and self._transport.get_write_buffer_size()):
            self.waiting = False
            self._total.leave(self)
        if hold is not None:
            hold.taken()

    def close(self) -> None:
        """Note that the connection is lost, or is another protocol's."""
        if self._hold is not None:
            self._hold.end()
            self._hold = None
        if self.waiting:
            self.waiting = False
            self._total.leave(self)

    # ---- a streamed answer

    @property
    def full(self) -> bool:
        """Whether the client has more to take than a stream may be ahead of it."""
        return self.waiting and self._transport.get_write_buffer_size() > self._total.limits.max_unsent

    def until_taken(self, remaining: Callable[[], float], go_on: Callable[[], None]) -> None:
        """Have the worker wait until the client has taken some; see WorkerHold."""
        if self._hold is None:
            self._hold = WorkerHold(self._transport, self._total.limits, remaining, go_on, self.end)
        else:
            self._hold.look()

    def end_hold(self) -> None:
        """Watch the transport for its last byte again: the stream goes on, or has ended."""
        if self._hold is not None:
            self._hold.end()
            self._hold = None
            self._watch()

    # ----

    def write(self, buffers: tuple[Body, ...]) -> None:
        """Write a piece of an answer."""
        waited = self.waiting
        write(self._transport, buffers)
        if not self.waiting:
            return
        size = sum(map(len, buffers))
        if waited:
            self._written += size
        else:
            self._written, self._taken = size, size - self._written
        self._largest = max(self._largest, *map(len, buffers), 0)
        self._total.resize(self, self._kept(self._transport.get_write_buffer_size()))

    def look(self, now: float) -> float:
        """Return for how many seconds the client has taken nothing."""
        left = self._transport.get_write_buffer_size()
        if self._written - left > self._taken:
            self._taken, self._moved = self._written - left, now
        self._total.resize(self, self._kept(left))
        return now - self._moved

    def _kept(self, left: int) -> int:
        """Return the bytes that the transport keeps of buffers of which `left` bytes are unsent."""
        return min(self._written, left + self._largest)

    def cost(self, now: float) -> float:
        """Return what it has cost to keep this, in bytes times seconds."""
        return self.size * (now - self._since)

    def end(self) -> None:
        """End the connection at once, and give up what the client has not taken."""
        self.close()
        self._transport.abort()

    def __str__(self) -> str:
        return f"{self.size} bytes, to {self._transport.get_extra_info('peername')}"


class UnsentLimit:
    """The answers of all connections that wait for their clients."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._stall = limits.write_stall
        self._waiting: set[UnsentAnswers] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._too_much = SeldomWarning(log)
        self.size = 0  # bytes, as of the last look at each

    def join(self, unsent: UnsentAnswers, size: int) -> None:
        """Count a connection that begins to wait."""
        self._waiting.add(unsent)
        self.resize(unsent, size)
        self._look_soon()

    def leave(self, unsent: UnsentAnswers) -> None:
        """Forget a connection that has nothing unsent any more."""
        self._waiting.discard(unsent)
        self.size -= unsent.size
        unsent.size = 0

    def resize(self, unsent: UnsentAnswers, size: int) -> None:
        """Count what a connection keeps now; end others, or this one, if that is too much."""
        grown = size - unsent.size
        self.size += grown
        unsent.size = size
        if grown > 0 and self.size > self.limits.max_unsent_total:
            self._make_room()

    def _make_room(self) -> None:
        now = monotonic()
        for each in list(self._waiting):
            each.look(now)  # shrinks only: nothing was written that is not counted
        while self._waiting and self.size > self.limits.max_unsent_total:
            most = max(self._waiting, key=lambda each: each.cost(now))
            self._too_much.warn(
                "answers that their clients have not taken held %d bytes, more than %d (max_unsent_bytes): ended the"
                " connection whose were the dearest: %s",
                self.size, self.limits.max_unsent_total, most,
            )  # fmt: skip
            most.end()

    def _look_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._stall / _LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        now = monotonic()
        for each in list(self._waiting):
            if each.look(now) > self._stall:
                each.end()
        if self._waiting:
            self._look_soon()

    def drain(self, stall: float) -> None:
        """From now on have each client take something every `stall` seconds."""
        self._stall = min(self._stall, stall)
        if self._timer is not None:
            self._timer.cancel()
            self._look()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()


def write(transport: asyncio.Transport, buffers: tuple[Body, ...]) -> None:
    """Queue bytes for sending; a client that has gone makes this do nothing."""
    if transport.is_closing():
        return
    if len(buffers) == 1:
        transport.write(buffers[0])
    elif sum(map(len, buffers)) < _COPY_UNDER:
        transport.write(b"".join(buffers))
    else:
        transport.writelines(buffers)
