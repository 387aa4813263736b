"""A client of HTTP/2 over a real socket, which says the frames that it is told, and reads answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import hpack

from torchserve.http.transport.http2 import frames
from torchserve.http.transport.http2.frames import frame

from ...doubles import SOON, RunningFront
from .harness import Frame, data, headers


@dataclass
class Answer:
    """An answer, or what has come of it."""

    blocks: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.blocks[0][":status"])

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


class Client:
    """A connection. What comes is read when a test waits for something."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.answers: dict[int, Answer] = {}
        self.frames: list[Frame] = []
        self._decoder = hpack.Decoder()
        self._next = 1

    def say(self, *pieces: bytes) -> None:
        self.writer.write(b"".join(pieces))

    def ask(self, method: str, path: str, *fields: tuple[str, str], body: bytes = b"", end: bool = True) -> int:
        """Send a request, and return its stream."""
        stream, self._next = self._next, self._next + 2
        self.answers[stream] = Answer()
        base = ((":method", method), (":scheme", "http"), (":path", path), (":authority", "x"))
        said = headers(stream, *base, *fields, end=end and not body)
        self.say(said, data(stream, body, end=end) if body else b"")
        return stream

    async def read(self) -> Frame | None:
        """Read a frame, or return None at the end of the connection."""
        try:
            head = await self.reader.readexactly(9)
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        got = Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
        self.frames.append(got)
        found = self.answers.setdefault(got.stream, Answer())
        if got.kind == frames.HEADERS:
            found.blocks.append(dict(self._decoder.decode(payload)))
        elif got.kind == frames.DATA:
            found.body += payload
        elif got.kind == frames.RST_STREAM:
            found.reset = got.code
        found.ended |= got.kind in {frames.HEADERS, frames.DATA} and bool(got.flags & frames.END_STREAM)
        return got

    async def until(self, true: Callable[[], object]) -> None:
        """Read until `true()` holds."""
        async with asyncio.timeout(SOON):
            while not true():
                assert await self.read() is not None, "the connection has ended"

    async def answer(self, stream: int) -> Answer:
        """Read until the answer on this stream is over."""
        await self.until(lambda: self.answers[stream].over)
        return self.answers[stream]

    async def end(self) -> int | None:
        """Read until the connection ends, and return the code of the last GOAWAY."""
        async with asyncio.timeout(SOON):
            while await self.read() is not None:
                pass
        codes = [each.code for each in self.frames if each.kind == frames.GOAWAY]
        return codes[-1] if codes else None


@asynccontextmanager
async def client(
    front: RunningFront, api: str = "inference", *, tls: ssl.SSLContext | None = None, port: int | None = None
) -> AsyncIterator[Client]:
    """Connect, and begin HTTP/2 by prior knowledge."""
    name = "localhost" if tls is not None else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port or front.port(api), ssl=tls, server_hostname=name)
    made = Client(reader, writer)
    made.say(frames.PREFACE, frame(frames.SETTINGS, 0, 0))
    try:
        yield made
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)
