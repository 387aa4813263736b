"""Measure what one small request costs the server over HTTP/2: `python -m benchmarks.http2_cost`.

A client that sends ready-made frames keeps 1, 16 and 64 requests in flight on one connection, each with 1 KB that comes
back, headers and trailers as gRPC has them. The figures are microseconds of the server's processor time for a request,
of the HTTP/2 layer alone: no model, no scheduler. Ours is measured beside the library `h2`, in turns.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import click
import h2.config
import h2.connection
import h2.events
import psutil
import uvloop
from torchserve.http.app_context import AppContext
from torchserve.http.message.limits import Limits
from torchserve.http.transport.http2 import frames
from torchserve.http.transport.http2.header_block import encode_block
from torchserve.http.transport.http2.http_application import HttpApplication
from torchserve.http.transport.http2.protocol import Http2Factory
from torchserve.http.transport.http2.stream import Fields, Stream

_ASKED = (
    (":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "here"),
    ("content-type", "application/grpc"), ("te", "trailers"),
)  # fmt: skip
_HEADERS = ((":status", "200"), ("content-type", "application/grpc"))
_TRAILERS = (("grpc-status", "0"),)
_ANSWER = frames.AnswerFrames(encode_block(_HEADERS), encode_block(_TRAILERS))
_BODY = bytes(1000)
_MOST = 1_000_000_000  # ids of streams that a connection has


class Echo:
    """A handler that answers with the body that came."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._body: list[Any] = []
        whole, stream.whole = stream.whole, None
        if whole is not None:
            stream.send_answer(_ANSWER, (whole,), len(whole))

    def data_received(self, data: Any) -> None:
        """Keep a piece."""
        self._body.append(data)
        self._stream.consumed(len(data))

    def ended(self, trailers: Fields) -> None:
        """Answer in full."""
        self._stream.send_answer(_ANSWER, tuple(self._body), sum(map(len, self._body)))

    def aborted(self, error: object) -> None:
        """Do nothing."""

    def writable(self) -> None:
        """Do nothing."""


class LibraryProtocol(asyncio.Protocol):
    """The same by the library h2."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._bodies: dict[int, bytes] = {}
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self._connection.initiate_connection()
        self._connection.increment_flow_control_window(1 << 30)
        self._transport.write(self._connection.data_to_send())

    def data_received(self, data: bytes) -> None:
        connection = self._connection
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self._bodies[event.stream_id] = self._bodies.get(event.stream_id, b"") + event.data
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                connection.send_headers(event.stream_id, _HEADERS)
                connection.send_data(event.stream_id, self._bodies.pop(event.stream_id))
                connection.send_headers(event.stream_id, _TRAILERS, end_stream=True)
        self._transport.write(connection.data_to_send())


def _ours() -> Callable[[], asyncio.BaseProtocol]:
    nothing = cast("Any", None)
    context = AppContext(nothing, nothing, nothing, print, Limits())
    return Http2Factory(HttpApplication(context, None, Echo))


def _serve(make: Callable[[], Callable[[], asyncio.BaseProtocol]], pipe: Any) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(make(), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())


def _requests(first: int, count: int) -> bytes:
    block = encode_block(_ASKED)
    head = frames.pack_head(len(block) << 8 | frames.HEADERS, frames.END_HEADERS, 0)[:5]
    body = frames.pack_head(len(_BODY) << 8 | frames.DATA, frames.END_STREAM, 0)[:5]
    streams = (stream.to_bytes(4, "big") for stream in range(first, first + 2 * count, 2))
    return b"".join(b"".join((head, stream, block, body, stream, _BODY)) for stream in streams)


class Client:
    """A connection to a server, with `flight` requests in flight at a time."""

    def __init__(self, port: int, flight: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wide = frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 20})
        self._socket.sendall(frames.PREFACE + wide + frames.window_update(0, (1 << 30) - 1))
        self._flight = flight
        self._next = 1
        self._rest = b""
        self._unacknowledged = 0

    def turn(self) -> None:
        """Send as many requests as are to be in flight, and read their answers."""
        self._socket.sendall(_requests(self._next, self._flight))
        self._next += 2 * self._flight
        ended = 0
        while ended < self._flight:
            received = self._socket.recv(1 << 18)
            if not received:
                sys.exit("the server has ended the connection")
            data = self._rest + received
            at = 0
            while len(data) - at >= frames.HEAD_SIZE:
                first, flags, stream = frames.unpack_head(data, at)
                end = at + frames.HEAD_SIZE + (first >> 8)
                if end > len(data):
                    break
                kind = first & 0xFF
                if kind in {frames.GOAWAY, frames.RST_STREAM}:
                    sys.exit(f"the server has ended stream {stream}: {data[at:end]!r}")
                ended += kind == frames.HEADERS and flags & frames.END_STREAM
                self._unacknowledged += kind == frames.DATA and first >> 8
                at = end
            self._rest = data[at:]
        if self._unacknowledged > 1 << 22:
            self._socket.sendall(frames.window_update(0, self._unacknowledged))
            self._unacknowledged = 0

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def measure(make: Callable[[], Callable[[], asyncio.BaseProtocol]], flight: int, seconds: float) -> tuple[float, float]:
    """Return the server's processor time for a request in microseconds, and requests per second."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=partial(_serve, make, theirs), daemon=True)
    process.start()
    try:
        client = Client(ours.recv(), flight)
        usage = psutil.Process(process.pid)
        _turns(client, seconds / 4)
        before, began = sum(usage.cpu_times()[:2]), time.perf_counter()
        count = _turns(client, seconds) * flight
        spent, took = sum(usage.cpu_times()[:2]) - before, time.perf_counter() - began
        client.close()
        return spent / count * 1e6, count / took
    finally:
        process.terminate()
        process.join()


def _turns(client: Client, seconds: float) -> int:
    end = time.perf_counter() + seconds
    turns = 0
    while time.perf_counter() < end:
        client.turn()
        turns += 1
    return turns


def _library() -> Callable[[], asyncio.BaseProtocol]:
    return LibraryProtocol


@click.command()
@click.option("--seconds", default=3.0, help="Time of each measurement.")
@click.option("--rounds", default=3, help="Measurements of each kind, in turns; the median is shown.")
@click.option("--flight", default=(1, 16, 64), multiple=True, help="Requests in flight.")
def main(seconds: float, rounds: int, flight: tuple[int, ...]) -> None:
    """Print a table of microseconds of processor time for a request, and requests per second."""
    print("| in flight | ours, us | requests/s | h2, us | requests/s |\n|---:|---:|---:|---:|---:|")
    for each in flight:
        found = [(measure(_ours, each, seconds), measure(_library, each, seconds)) for _ in range(rounds)]
        cells = [f"{statistics.median(pair[side][at] for pair in found):.0f}" for side in (0, 1) for at in (0, 1)]
        print(f"| {each} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
