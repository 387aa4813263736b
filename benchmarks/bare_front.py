"""A server that does no more than it must to answer an echo: the floor that benchmarks.floor measures ours against.

`python -m benchmarks.bare_front PORT [--worker]` reads HTTP by the same event loop as our front, knows one head by
heart, and sends the body back behind a fixed one. With `--worker` the bodies that one turn of the loop has read go to
another process as one message, and come back as one, as a batch does. It checks nothing: no limits, no queue, no log.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from multiprocessing import get_context
from typing import cast

import uvloop

_LENGTH = struct.Struct("<I")
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx-request-id: 00000000-0000-4000-8000-000000000000\r\n\r\n"


class Front(asyncio.Protocol):
    """A connection. The first head is searched for its end; the same head is known from then on."""

    worker: Worker | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's share no base with asyncio's
        self._head = b"\0"

    def data_received(self, data: bytes) -> None:
        if not data.startswith(self._head):
            self._head = data[: data.index(b"\r\n\r\n") + 4]
        body = data[len(self._head) :]
        if self.worker is None:
            self.answer(body)
        else:
            self.worker.submit(self, body)

    def answer(self, body: bytes) -> None:
        """Send the body back, unless the client has left."""
        if not self._transport.is_closing():
            self._transport.write(_HEAD % len(body) + body)


class Worker(asyncio.Protocol):
    """The connection to the other process, which has one message at a time."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Front, bytes]] = []
        self._asked: list[tuple[Front, bytes]] = []
        self._due = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's share no base with asyncio's
        self._came = b""

    def submit(self, front: Front, body: bytes) -> None:
        """Have a body echoed with all that this turn of the loop reads."""
        self._waiting.append((front, body))
        if not self._due and not self._asked:
            self._due = True
            asyncio.get_running_loop().call_soon(self._ask)

    def _ask(self) -> None:
        self._due = False
        self._asked, self._waiting = self._waiting, []
        bodies = b"".join([body for _, body in self._asked])
        self._transport.write(_LENGTH.pack(len(bodies)) + bodies)

    def data_received(self, data: bytes) -> None:
        self._came += data
        if len(self._came) < _LENGTH.size + _LENGTH.unpack_from(self._came)[0]:
            return
        message, self._came = self._came, b""
        asked, self._asked = self._asked, []
        at = _LENGTH.size
        if self._waiting:
            self._ask()  # before the answers, as our scheduler does
        for front, body in asked:
            front.answer(message[at : at + len(body)])
            at += len(body)


def _echo(end: socket.socket, other: socket.socket) -> None:
    other.close()  # or this process would never see the end of the stream
    while data := end.recv(1 << 20):
        end.sendall(data)


async def _serve(port: int, end: socket.socket | None) -> None:
    loop = asyncio.get_running_loop()
    if end is not None:
        _, Front.worker = await loop.create_unix_connection(Worker, sock=end)
    server = await loop.create_server(Front, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    end: socket.socket | None = None
    if "--worker" in sys.argv:
        end, other = socket.socketpair()
        get_context("fork").Process(target=_echo, args=(other, end), daemon=True).start()
        other.close()
    uvloop.run(_serve(int(sys.argv[1]), end))


if __name__ == "__main__":
    main()
