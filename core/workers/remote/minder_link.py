"""MinderLink: the front's end of a minder's connection: its messages, and whether it is alive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final, Protocol, cast

from ...payload import Body
from ...wire.frames import FrameError, FrameReader, encode
from ...wire.remote_messages import Alive, FromMinder, Piece, ToMinder

_MISSES: Final = 2  # beats without a sign of life, after which the node counts as lost
_MOST_FRAME: Final = 1 << 23  # bytes; the longest is a hundred lines


class Follower(Protocol):
    """A receiver of what a minder says; `lost` is called once, and nothing after it."""

    def receive(self, message: FromMinder) -> None: ...
    def lost(self, reason: str) -> None: ...


class MinderLink(asyncio.BufferedProtocol):
    """A connection to a minder. A beat in which nothing was heard is a miss.

    Beats are counted, not measured: if this loop was held up, what has come meanwhile is read before the next beat.
    """

    def __init__(self, transport: asyncio.Transport, follower: Follower, beat: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._follower = follower
        self._beat = beat
        self._missed = 0
        self._reader: FrameReader[FromMinder] = FrameReader(FromMinder, _MOST_FRAME)
        self._writable = asyncio.Event()
        self._writable.set()
        self._over = False
        self._timer = self._loop.call_later(beat, self._tick)
        transport.set_protocol(self)

    def send(self, message: ToMinder, body: Body = b"") -> None:
        """Send a message; nothing happens if the connection is lost."""
        if not self._transport.is_closing():
            self._transport.writelines(encode(message, (body,) if len(body) else ()))

    async def send_files(self, pieces: Iterator[tuple[Piece, Body]]) -> None:
        """Send files, as fast as the node takes them. Raises OSError if they can't be read."""
        while not self._over:
            found = await asyncio.to_thread(next, pieces, None)
            if found is None:
                return
            self.send(*found)
            await self._writable.wait()

    def close(self) -> None:
        """Close the connection; `lost` is not called any more."""
        self._end()
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._missed = 0
        try:
            self._reader.buffer_updated(nbytes)
            while not self._over and (frame := self._reader.next_frame()) is not None:
                self._follower.receive(frame.message)
        except FrameError as error:
            self._lose(f"broke the protocol: {error}")

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(f"its connection ended{f': {exc}' if exc else ''}")

    def _tick(self) -> None:
        self._missed += 1
        if self._missed > _MISSES:
            self._lose(f"no sign of life for {self._missed * self._beat:g} s")
            return
        self.send(Alive())
        self._timer = self._loop.call_later(self._beat, self._tick)

    def _lose(self, reason: str) -> None:
        if not self._over:
            self._end()
            self._transport.abort()
            self._follower.lost(reason)

    def _end(self) -> None:
        self._over = True
        self._timer.cancel()
        self._writable.set()
