"""A server that does no more than it must to stream answers: the floor that benchmarks.streams measures ours against.

`python -m benchmarks.bare_streams PORT PIECES BYTES` has another process write the pieces of all streams that are asked
for at a time, step by step, and writes each as a chunk to its connection, those that came at once together. It checks
nothing: no limits, no queue, no log.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from multiprocessing import get_context
from typing import cast

import uvloop

_COUNT = struct.Struct("<I")
_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-request-id: 00000000-0000-4000-8000-000000000000\r\n\r\n"


class Front(asyncio.Protocol):
    """A connection, on which each packet is a request."""

    worker: Worker

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's share no base with asyncio's

    def data_received(self, data: bytes) -> None:
        del data
        self.worker.submit(self)

    def write(self, data: bytes) -> None:
        """Send a part of the answer, unless the client has left."""
        if not self._transport.is_closing():
            self._transport.write(data)


class Worker(asyncio.Protocol):
    """The connection to the other process, which has one batch of streams at a time."""

    def __init__(self, pieces: int, size: int) -> None:
        self._pieces, self._size = pieces, size
        self._waiting: list[Front] = []
        self._streams: list[Front] = []
        self._due = False
        self._came = b""
        self._steps = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's share no base with asyncio's

    def submit(self, front: Front) -> None:
        """Have an answer streamed with all others that this turn of the loop asks for."""
        self._waiting.append(front)
        if not self._due and not self._streams:
            self._due = True
            asyncio.get_running_loop().call_soon(self._ask)

    def _ask(self) -> None:
        self._due = False
        self._streams, self._waiting = self._waiting, []
        self._steps = 0
        for front in self._streams:
            front.write(_HEAD)
        self._transport.write(_COUNT.pack(len(self._streams)))

    def data_received(self, data: bytes) -> None:
        came, size = self._came + data, self._size
        at, step = 0, size * len(self._streams)
        while self._streams and len(came) - at >= step:
            steps = min((len(came) - at) // step, self._pieces - self._steps)
            for place, front in enumerate(self._streams):
                begins = range(at + place * size, at + steps * step, step)
                front.write(b"".join([b"%x\r\n%b\r\n" % (size, came[begin : begin + size]) for begin in begins]))
            at += steps * step
            self._steps += steps
            if self._steps == self._pieces:
                for front in self._streams:
                    front.write(b"0\r\n\r\n")
                self._streams = []
                if self._waiting:
                    self._ask()
                    step = size * len(self._streams)
        self._came = came[at:]


def _stream(end: socket.socket, other: socket.socket, pieces: int, size: int) -> None:
    other.close()  # or this process would never see the end of the stream
    while asked := end.recv(_COUNT.size):
        (count,) = _COUNT.unpack(asked)
        for _ in range(pieces):
            end.sendall(b"x" * size * count)


async def _serve(port: int, end: socket.socket, pieces: int, size: int) -> None:
    loop = asyncio.get_running_loop()
    _, Front.worker = await loop.create_unix_connection(lambda: Worker(pieces, size), sock=end)
    server = await loop.create_server(Front, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    port, pieces, size = map(int, sys.argv[1:])
    end, other = socket.socketpair()
    get_context("fork").Process(target=_stream, args=(other, end, pieces, size), daemon=True).start()
    other.close()
    uvloop.run(_serve(port, end, pieces, size))


if __name__ == "__main__":
    main()
