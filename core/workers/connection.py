"""Connection: the frames between a worker and its process, as they come and go on a socket."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TypeAlias, cast

from ..payload import Body
from ..wire.frames import Frame, FrameError, FrameReader
from ..wire.messages import ToFront
from .protocol_error import WorkerProtocolError
from .shared_memory import Results

FromBackend: TypeAlias = Frame[ToFront]


class Connection(asyncio.BufferedProtocol):
    """A protocol that hands on each frame that comes, and sends frames while there is a transport for them."""

    def __init__(self, most: int, results: Results | None) -> None:
        """Take frames of at most `most` bytes, whose bodies may lie in the memory of `results`."""
        lend = results.lend if results is not None else None
        self._reader: FrameReader[ToFront] = FrameReader(ToFront, most, lend)
        self._transport: asyncio.Transport | None = None

    @abstractmethod
    def _receive(self, frame: FromBackend) -> None:
        """Take a frame. Raises WorkerProtocolError."""

    @abstractmethod
    def _broken(self, error: Exception) -> None:
        """Note that the process has broken the protocol."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports share no base with asyncio's

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            self._reader.buffer_updated(nbytes)
            while (frame := self._reader.next_frame()) is not None:
                self._receive(frame)
        except (FrameError, WorkerProtocolError) as error:
            self._broken(error)

    def eof_received(self) -> bool:
        return False  # the transport may close itself; the pidfd reports the process's end

    def _pause(self) -> None:
        """Read nothing more for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _send(self, buffers: list[Body]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(buffers)
