"""A client's side of one connection: requests written byte for byte, answers read with all they are allowed to be."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

PATIENCE = 120.0  # seconds for one answer; it is there to end, not to measure


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `closing`: the server said that nothing follows it on this connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closing(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


class NoAnswer(Exception):
    """The connection ended, or broke, before the answer was whole. The text says how."""


class Conversation:
    """One TCP connection. Not more than one task may read from it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.count = 0  # answers that were read

    @classmethod
    async def open(cls, port: int) -> Conversation:
        """Connect to a port of this machine. Raises NoAnswer."""
        try:
            return cls(*await asyncio.open_connection("127.0.0.1", port))
        except OSError as error:
            raise NoAnswer(f"no connection: {error}") from None

    async def send(self, data: bytes) -> None:
        """Raises NoAnswer where the server has closed already: an answer may be there to read all the same."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise NoAnswer(f"could not be sent: {error}") from None

    async def read(self, pause: float = 0.0) -> Answer:
        """The next answer. With `pause` it is read in pieces of 64 KiB, so many seconds apart. Raises NoAnswer."""
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self._read(pause)
        except asyncio.IncompleteReadError as error:
            raise NoAnswer(f"closed after {len(error.partial)} bytes of an answer's piece") from None
        except TimeoutError:
            raise NoAnswer(f"silence for {PATIENCE:g} s") from None
        except (OSError, ValueError, IndexError) as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from None
        self.count += 1
        return answer

    async def left(self) -> bytes:
        """What the server sent behind the last answer; waits until it closes."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                return await self._reader.read()
        return b""

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(5.0):
                await self._writer.wait_closed()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def _read(self, pause: float) -> Answer:
        start, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {}
        for line in filter(None, lines):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            body = await self._chunks(pause)
        else:
            body = await self._exactly(int(headers["content-length"]), pause)
        return Answer(int(start.split(" ")[1]), headers, body)

    async def _exactly(self, size: int, pause: float) -> bytes:
        pieces = []
        while size:
            pieces.append(await self._reader.readexactly(min(size, 65_536)))
            size -= len(pieces[-1])
            if pause:
                await asyncio.sleep(pause)
        return b"".join(pieces)

    async def _chunks(self, pause: float) -> bytes:
        pieces = []
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            pieces.append(await self._exactly(size, pause))
            _ = await self._reader.readexactly(2)
        _ = await self._reader.readexactly(2)
        return b"".join(pieces)
