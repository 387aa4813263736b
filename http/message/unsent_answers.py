"""UnsentAnswers: the bytes of its answers that one client has not taken yet. UnsentLimit: those of all clients.

A transport keeps the bytes that the kernel does not take. As its limits are zero here, it calls `pause_writing` at the
first such byte and `resume_writing` when none is left. In between the connection waits for its client, and UnsentLimit
looks at it:

- The client must take at least a byte every `write_stall` seconds. An answer that is added meanwhile does not count as
  progress.
- All connections together may keep `max_unsent_total` bytes. Beyond that the connection whose unread answers have cost
  most, in bytes times seconds, is ended, and so on until the rest fits: a client that does not read at all is ended
  before one that reads slowly, and one that has just got its answer is ended last.

A connection reads no further request while it waits, so that it keeps one answer at most.

Small chunks of streamed answers are written at the end of the loop's turn: a worker that is ahead of this process sends
many of one answer at a time, and the system call costs more than all the rest of a chunk.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from ...core.payload import Body
from .limits import Limits
from .seldom_warning import SeldomWarning
from .worker_hold import WorkerHold, goes_on_at

log = logging.getLogger(__name__)

# Whether asyncio's `writelines` calls `pause_writing`: in some releases it doesn't (CVE-2024-12254), so that what
# clients leave unread would go unnoticed. uvloop's does, and sends what is written in one turn of its loop together.
_PAUSES = not ((3, 12, 0) <= sys.version_info < (3, 12, 9) or (3, 13, 0) <= sys.version_info < (3, 13, 2))
COPY_UNDER = 16 * 1024  # smaller answers go out in one buffer: joining them costs less than a second system call
_LOOKS = 4  # at each waiting connection per write_stall
_CHUNKS = 32  # of an answer that are written together at most


class UnsentAnswers:
    """The answers of one connection, whose protocol must hand on its calls of `pause_writing` and `resume_writing`.

    `size` is the number of bytes that are kept, as of the last look. `waiting` says whether the client has some of its
    answers to take; then the connection must read no further request. `hold` is a worker's wait for it, if one does.
    """

    __slots__ = (
        "_chunks",
        "_largest",
        "_moved",
        "_since",
        "_taken",
        "_total",
        "_transport",
        "_written",
        "hold",
        "size",
        "waiting",
    )

    def __init__(self, total: UnsentLimit, transport: asyncio.Transport) -> None:
        self._total = total
        self._transport = transport
        self._since = self._moved = 0.0
        self._written = self._taken = 0  # bytes, since the connection began to wait
        self._chunks: list[bytes] = []  # to be written at the end of this turn
        self._largest = 0  # bytes of the largest buffer: a transport keeps a whole buffer until its last byte is taken
        self.size = 0
        self.waiting = False
        self.hold: WorkerHold | None = None
        self._watch()

    def _watch(self) -> None:
        """Have the transport report when the first byte is unsent, and when none is."""
        # With a limit of zero a TLS transport would call itself full when it is empty.
        tls = self._transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=1 if tls else 0, low=0)

    def pause_writing(self) -> None:
        """Note that the kernel has not taken all bytes."""
        if self.waiting:
            return
        self.waiting = True
        self._since = self._moved = monotonic()
        self._written, self._taken = self._transport.get_write_buffer_size(), 0
        self._largest = 0
        self._total.join(self, self._written)

    def resume_writing(self) -> None:
        """Note that all bytes are sent or, while a worker waits for the client, enough of them."""
        hold = self.hold
        self.end_hold()
        if self.waiting and not (hold is not None and self._transport.get_write_buffer_size()):
            self.waiting = False
            self._total.leave(self)
        if hold is not None:
            hold.taken()

    def close(self) -> None:
        """Note that the connection is lost, or handed over to another protocol."""
        self._chunks = []
        if self.hold is not None:
            self.hold.end()
            self.hold = None
        if self.waiting:
            self.waiting = False
            self._total.leave(self)

    # ---- a streamed answer

    @property
    def full(self) -> bool:
        """Whether the client has more bytes to take than a streamed answer may be ahead of it (`max_unsent`)."""
        return self.waiting and self._transport.get_write_buffer_size() > self._total.limits.max_unsent

    def until_taken(self, remaining: Callable[[], float], go_on: Callable[[], None]) -> None:
        """Have the worker wait until the client has taken some of its answer; see WorkerHold."""
        if self.hold is None:
            limits = self._total.limits
            self._transport.set_write_buffer_limits(high=limits.max_unsent, low=goes_on_at(limits.max_unsent))
            self.hold = WorkerHold(limits, self._unsent, remaining, go_on, self.end)
        else:
            self.hold.look()

    def _unsent(self) -> tuple[object, int]:
        return self._transport.get_extra_info("peername"), self._transport.get_write_buffer_size()

    def end_hold(self) -> None:
        """End the worker's wait: the streamed answer goes on, or has ended. The transport's limits are zero again."""
        if self.hold is not None:
            self.hold.end()
            self.hold = None
            self._watch()

    # ---- bytes

    def write(self, buffers: tuple[Body, ...]) -> None:
        """Write a piece of an answer, and count what the transport keeps of it."""
        if self._chunks:
            self.write_chunks()
        waited, transport = self.waiting, self._transport
        if len(buffers) != 1:
            _ = write(transport, buffers)
        elif not transport.is_closing():
            transport.write(buffers[0])
        if self.waiting:
            self._count(buffers, waited=waited)

    def write_chunk(self, chunk: bytes) -> None:
        """Write a small piece of an answer at the end of this turn of the loop, or before what is written next.

        It is written, and counted, at once if the client has something to take.
        """
        if self.waiting:
            self.write((chunk,))
            return
        chunks = self._chunks
        chunks.append(chunk)
        if len(chunks) == 1:
            self._total.gather(self)
        elif len(chunks) == _CHUNKS:
            self.write_chunks()

    def write_chunks(self) -> None:
        """Write the small pieces that have come in this turn."""
        chunks, self._chunks = self._chunks, []
        if chunks:
            self.write((chunks[0] if len(chunks) == 1 else b"".join(chunks),))

    def _count(self, buffers: tuple[Body, ...], *, waited: bool) -> None:
        """Count what the transport keeps of an answer's piece. `waited`: the client had something to take before."""
        size = sum(map(len, buffers))
        if waited:
            self._written += size
        else:
            self._written, self._taken = size, size - self._written
        self._largest = max(self._largest, *map(len, buffers), 0)
        self._total.resize(self, self._kept(self._transport.get_write_buffer_size()))

    def look(self, now: float) -> float:
        """Count what the transport keeps now, and return for how many seconds the client has taken nothing."""
        left = self._transport.get_write_buffer_size()
        if self._written - left > self._taken:
            self._taken, self._moved = self._written - left, now
        self._total.resize(self, self._kept(left))
        return now - self._moved

    def _kept(self, left: int) -> int:
        """Return the bytes that the transport keeps of buffers of which `left` bytes are unsent."""
        return min(self._written, left + self._largest)

    def cost(self, now: float) -> float:
        """Return what it has cost to keep these answers, in bytes times seconds."""
        return self.size * (now - self._since)

    def end(self) -> None:
        """End the connection at once, and drop the bytes that the client has not taken."""
        self.close()
        self._transport.abort()

    def __str__(self) -> str:
        return f"{self.size} bytes, to {self._transport.get_extra_info('peername')}"


class Waiting(Protocol):
    """An interface for a connection whose client has some of its answers to take; of HTTP/1 it is UnsentAnswers."""

    size: int  # bytes that are kept, as of the last look; UnsentLimit writes it

    def look(self, now: float) -> float:
        """Count what is kept now, by `UnsentLimit.resize`. Return for how many seconds the client has taken nothing."""
        ...

    def cost(self, now: float) -> float:
        """Return what it has cost to keep these answers, in bytes times seconds."""
        ...

    def end(self) -> None:
        """End the connection at once, and leave the limit."""


class UnsentLimit:
    """The answers of all connections that wait for their clients. `size` is their bytes as of the last look."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._stall = limits.write_stall
        self._waiting: set[Waiting] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._too_much = SeldomWarning(log)
        self._gathered: list[UnsentAnswers] = []  # those that have chunks to write at the end of this turn
        self.size = 0

    def join(self, unsent: Waiting, size: int) -> None:
        """Count a connection that begins to wait."""
        self._waiting.add(unsent)
        self.resize(unsent, size)
        self._look_soon()

    def gather(self, unsent: UnsentAnswers) -> None:
        """Have `unsent` write its chunks at the end of this turn of the loop."""
        self._gathered.append(unsent)
        if len(self._gathered) == 1:
            asyncio.get_running_loop().call_soon(self._write_gathered)

    def _write_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        for each in gathered:
            each.write_chunks()

    def leave(self, unsent: Waiting) -> None:
        """Forget a connection that has no unsent bytes any more."""
        self._waiting.discard(unsent)
        self.size -= unsent.size
        unsent.size = 0

    def resize(self, unsent: Waiting, size: int) -> None:
        """Count what a connection keeps now. If all keep too much, end the dearest ones, which may be this one."""
        grown = size - unsent.size
        self.size += grown
        unsent.size = size
        if grown > 0 and self.size > self.limits.max_unsent_total:
            self._make_room()

    def _make_room(self) -> None:
        now = monotonic()
        for each in list(self._waiting):
            each.look(now)  # can only lower the sizes: each write is counted at once
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
        """Require of each client, from now on, that it takes a byte every `stall` seconds."""
        self._stall = min(self._stall, stall)
        if self._timer is not None:
            self._timer.cancel()
            self._look()

    def close(self) -> None:
        """Stop looking at connections."""
        if self._timer is not None:
            self._timer.cancel()


def write(transport: asyncio.Transport, buffers: Sequence[Body]) -> int:
    """Queue bytes for sending, and return their number. Nothing happens if the client has left."""
    if transport.is_closing():
        return 0
    if len(buffers) == 1:
        transport.write(buffers[0])
        return len(buffers[0])
    size = sum(map(len, buffers))
    if size < COPY_UNDER:
        transport.write(b"".join(buffers))
    elif _PAUSES:
        transport.writelines(buffers)
    else:
        for buffer in buffers:
            transport.write(buffer)
    return size
