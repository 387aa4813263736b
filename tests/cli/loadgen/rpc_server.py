"""A small real gRPC server, of the library h2, that answers each call as its script says, faults included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import h2.config
import h2.connection
import h2.events

from torchserve.core.config.address import Address


@dataclass(frozen=True, slots=True)
class Says:
    """What a call is answered with. `reset`: the stream is reset with this code; `raw`: written as it is, then closed."""

    messages: tuple[bytes, ...] = ()
    status: str | None = "0"
    text: str = ""
    reset: int | None = None
    raw: bytes = b""
    http: str = "200"


# the number of a call, from 0, and its message -> how it is answered; None: not at all; GOAWAY: the connection ends
Script = Callable[[int, bytes], "Says | None"]
HANG_UP = Says(raw=b" ")
LEAVE = Says(raw=b"GOAWAY")


def echo(_number: int, message: bytes) -> Says:
    return Says((message,))


class RpcServer:
    """`asked`: the messages that came. `connections`: how many were opened."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[bytes] = []
        self.heads: list[dict[str, str]] = []
        self.connections = 0
        self.address = Address("127.0.0.1", 0)


class _Talk(asyncio.Protocol):
    def __init__(self, server: RpcServer) -> None:
        self._server = server
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self._bodies: dict[int, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._server.connections += 1
        self._transport = cast("asyncio.Transport", transport)
        self._http.initiate_connection()
        self._transport.write(self._http.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self._http.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self._server.heads.append({str(name): str(value) for name, value in event.headers})
                self._bodies[event.stream_id] = b""
            elif isinstance(event, h2.events.DataReceived):
                self._bodies[event.stream_id] += event.data
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self._answer(event.stream_id, self._bodies.pop(event.stream_id)[5:])
            if self._transport.is_closing():
                return
        self._transport.write(self._http.data_to_send())

    def _answer(self, stream: int, message: bytes) -> None:
        server, http = self._server, self._http
        server.asked.append(message)
        said = server.script(len(server.asked) - 1, message)
        if said is None:
            return
        if said.raw:
            if said is LEAVE:
                self._answer_rpc(stream, Says((message,)))
                http.close_connection(last_stream_id=stream)
            self._transport.write(http.data_to_send() + (b"" if said is LEAVE else said.raw))
            self._transport.close()
        elif said.reset is not None:
            http.reset_stream(stream, said.reset)
        else:
            self._answer_rpc(stream, said)

    def _answer_rpc(self, stream: int, said: Says) -> None:
        http = self._http
        http.send_headers(stream, [(":status", said.http), ("content-type", "application/grpc")])
        for each in said.messages:
            http.send_data(stream, b"\0" + len(each).to_bytes(4) + each)
        if said.status is None:
            http.end_stream(stream)
            return
        text = [("grpc-message", said.text)] if said.text else []
        http.send_headers(stream, [("grpc-status", said.status), *text], end_stream=True)


@asynccontextmanager
async def rpc_server(script: Script = echo) -> AsyncIterator[RpcServer]:
    server = RpcServer(script)
    listening = await asyncio.get_running_loop().create_server(lambda: _Talk(server), "127.0.0.1", 0)
    server.address = Address("127.0.0.1", listening.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listening.close()
