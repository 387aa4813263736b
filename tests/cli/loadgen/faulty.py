"""A small real HTTP server that answers each request as its script says, faults included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from torchserve.core.config.address import Address

# the number of a request, from 0, and its body -> what is written; None: nothing, ever
Script = Callable[[int, bytes], "bytes | list[bytes] | None"]
HANG_UP = b""


def reply(body: bytes, status: str = "200 OK", head: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


def echo(_number: int, body: bytes) -> bytes:
    return reply(body)


class Faulty:
    """`asked`: the bodies that came. `connections`: how many were opened."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[bytes] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self.talks: set[asyncio.Task[None]] = set()
        self.address = Address("127.0.0.1", 0)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.talks.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
                )
                body = await reader.readexactly(length)
                self.asked.append(body)
                self.heads.append(head)
                said = self.script(len(self.asked) - 1, body)
                if said == HANG_UP:
                    break
                for part in [said] if isinstance(said, bytes) else said or []:
                    writer.write(part)
                    await writer.drain()
                if isinstance(said, bytes) and b"Connection: close" in said:
                    break
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def faulty(script: Script = echo) -> AsyncIterator[Faulty]:
    server = Faulty(script)
    listening = await asyncio.start_server(server.talk, "127.0.0.1", 0)
    server.address = Address("127.0.0.1", listening.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listening.close()
        await asyncio.wait_for(asyncio.gather(*server.talks), 60)  # they end with the client's connections
