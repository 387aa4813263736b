"""One request to an engine, over a connection of its own. Closing that is how a request is cancelled: engines end what
they generate for a client that has left.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from .http_answer import AnswerHead, AnswerReader, BadAnswer

Heard = Callable[[], None]

_PIECE = 64 * 1024  # bytes that are read at once


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an engine: the Unix socket `path` or, if that is "", `port` of the loopback interface."""

    path: str = ""
    port: int = 0

    def __str__(self) -> str:
        return self.path or f"127.0.0.1:{self.port}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a new connection. Raises OSError."""
        if self.path:
            return await asyncio.open_unix_connection(self.path, limit=_PIECE)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=_PIECE)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return reader, writer


class Exchange:
    """An answer that arrives. `heard` is called for whatever comes, as a sign of life."""

    def __init__(self, reader: asyncio.StreamReader, heard: Heard) -> None:
        self._reader = reader
        self._heard = heard
        self._answer = AnswerReader()
        self._pieces: list[bytes] = []
        self.head = AnswerHead(0)

    async def begin(self) -> None:
        """Wait for the head. Raises BadAnswer, OSError."""
        while self._answer.head is None:
            await self._receive()
        self.head = self._answer.head

    async def piece(self) -> bytes:
        """Return the next bytes of the body, b"" at its end. Raises BadAnswer, OSError."""
        while not self._pieces:
            if self._answer.done:
                return b""
            await self._receive()
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    async def whole(self, most: int) -> bytes:
        """Return the body. Raises BadAnswer, also for more than `most` bytes, and OSError."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self.piece():
            size += len(piece)
            if size > most:
                raise BadAnswer(f"sent an answer of more than {most} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def _receive(self) -> None:
        data = await self._reader.read(_PIECE)
        self._heard()
        if data:
            self._pieces += self._answer.feed(data)
        else:
            self._answer.end()


@asynccontextmanager
async def ask(
    address: Address, method: str, path: str, body: bytes | bytearray | memoryview = b"",
    headers: Mapping[str, str] | None = None, heard: Heard = lambda: None,
) -> AsyncIterator[Exchange]:  # fmt: skip
    """Send a request, and return the answer once its head is there. The connection is closed with the context.

    Raises OSError if the engine can't be reached, BadAnswer if what comes is no answer.
    """
    reader, writer = await address.connect()
    try:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if body:
            writer.write(body)
        exchange = Exchange(reader, heard)
        # What is written is not waited for: an engine may refuse a body before it has read it.
        await exchange.begin()
        yield exchange
    finally:
        writer.transport.abort()
