"""Frames over a blocking socket: `send` writes all of one, `receive` waits for the next."""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence
from typing import Protocol, TypeVar

from ..payload import Body
from ..wire.frames import Frame, FrameError, FrameReader

M = TypeVar("M")

MAX_FRAME = 1 << 36  # bytes; the front limits requests, this only detects garbage
_MAX_BUFFERS = 1024  # IOV_MAX


class StreamCut(FrameError):
    """An end of the stream within a frame."""


class Stream(Protocol):
    """A socket, or what stands for one."""

    def sendmsg(self, buffers: Sequence[memoryview], /) -> int: ...
    def recv_into(self, buffer: memoryview, /) -> int: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


def send(sock: Stream, buffers: Sequence[Body]) -> None:
    """Write the buffers in order. Raises OSError, such as BrokenPipeError if the front has closed the connection."""
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    first = 0
    while first < len(views):
        sent = sock.sendmsg(views[first : first + _MAX_BUFFERS])
        while first < len(views) and sent >= len(views[first]):
            sent -= len(views[first])
            first += 1
        if sent:
            views[first] = views[first][sent:]


def news_of(sock: Stream) -> select.poll | None:
    """Return what tells when bytes of a socket are there to be read; None for another stream, which may hold some."""
    if not isinstance(sock, socket.socket):
        return None
    news = select.poll()
    news.register(sock, select.POLLIN)
    return news


def receive(sock: Stream, reader: FrameReader[M], news: select.poll | None = None) -> Frame[M] | None:
    """Return the next frame, None at the end of the stream. Raises FrameError for garbage, StreamCut.

    With the socket's `news` the next frame is waited for by these: Linux wakes whoever blocks in recv() on a Unix
    socket also when the other end has read what was sent to it, which is once for each answer of a worker.
    """
    while (frame := reader.next_frame()) is None:
        if news is not None and not reader.pending:
            news.poll()
        received = sock.recv_into(reader.get_buffer())
        if received == 0:
            if reader.pending:
                raise StreamCut("the connection was closed in the middle of a frame")
            return None
        reader.buffer_updated(received)
    return frame
