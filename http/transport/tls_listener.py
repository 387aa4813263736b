"""TlsListener: accepts the connections of a TLS listener. Who speaks plain HTTP there is told so, in plain HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import socket
import ssl
import struct
import termios
from collections.abc import Callable
from typing import cast
from weakref import WeakSet

from ..app_context import AppContext
from ..message.ids import fresh_id
from ..message.reply import json_reply
from ..message.request import Head
from ..predict.http1_writer import answer_buffers
from .accepting import Accepting, Connections

log = logging.getLogger(__name__)

_HANDSHAKE = b"\x16"  # the first byte of every TLS connection, and of no HTTP request


class TlsListener:
    """A listening socket. `factory` makes the protocol that gets what comes through TLS."""

    def __init__(
        self,
        listening: socket.socket,
        factory: Callable[[], asyncio.BaseProtocol],
        tls: ssl.SSLContext,
        context: AppContext,
        connections: Connections,
        most: int,
    ) -> None:
        self._factory = factory
        self._tls = tls
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._silent: dict[socket.socket, asyncio.TimerHandle] = {}  # connected, and nothing has come yet
        self._greeting: set[asyncio.Task[None]] = set()
        self._through: WeakSet[socket.socket] = WeakSet()
        self._accepting = Accepting(listening, self._take, connections, most)

    def close(self) -> None:
        """Accept nothing more; connections that are through stay."""
        self._accepting.close()
        for connection in list(self._silent):
            self._forget(connection)
            connection.close()
        for task in self._greeting:
            task.cancel()

    @property
    def open(self) -> bool:
        """Whether a connection through it is not closed yet. One that is being closed may have bytes to send still."""
        return any(connection.fileno() >= 0 for connection in self._through)

    @property
    def sending(self) -> bool:
        """Whether a client has yet to take what was sent. Asked of the kernel, as a TLS transport does not tell."""
        return any(_unsent(connection) for connection in self._through)

    def _take(self, connection: socket.socket) -> None:
        patience = self._context.limits.handshake
        self._silent[connection] = self._loop.call_later(patience, self._give_up, connection)
        self._loop.add_reader(connection, self._look, connection)

    def _look(self, connection: socket.socket) -> None:
        self._forget(connection)
        try:
            first = connection.recv(1, socket.MSG_PEEK)
        except OSError:
            first = b""
        if not first:
            connection.close()
            return
        task = self._loop.create_task(self._greet(connection) if first == _HANDSHAKE else self._refuse(connection))
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket) -> None:
        limits = self._context.limits
        self._through.add(connection)
        try:
            _ = await self._loop.connect_accepted_socket(
                self._factory, connection, ssl=self._tls,
                ssl_handshake_timeout=limits.handshake, ssl_shutdown_timeout=limits.write_stall,
            )  # fmt: skip
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError and TimeoutError are of these
            log.debug("no TLS connection came about: %s", error)
            connection.close()

    async def _refuse(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            _ = await self._loop.connect_accepted_socket(lambda: PlainRefusal(self._context), connection)

    def _give_up(self, connection: socket.socket) -> None:
        self._forget(connection)
        connection.close()

    def _forget(self, connection: socket.socket) -> None:
        self._silent.pop(connection).cancel()
        self._loop.remove_reader(connection)


def _unsent(connection: socket.socket) -> int:
    """Return the bytes that the other side has not acknowledged."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))
    except (OSError, ValueError):  # it is closed
        return 0
    return count


class PlainRefusal(asyncio.Protocol):
    """A protocol that gives TorchServe's answer to plain HTTP where TLS is spoken."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        transport, self._transport = self._transport, None
        if transport is None:
            return  # the rest of a request that has its answer
        head = Head("GET", "/bad-request", (), transport.get_extra_info("peername"), keep_alive=False)
        reply = json_reply({"status": "This TorchServe instance only accepts HTTPS requests"}, 403)
        self._context.answered(head, reply.status)
        transport.writelines(answer_buffers(reply, fresh_id(), head, self._context.default_headers, keep=False))
        transport.write_eof()
        _ = asyncio.get_running_loop().call_later(self._context.limits.linger, transport.close)
