"""Listener: where the processes of remote workers connect. Nobody is let in without a nonce that is expected.

    accepted ─► TLS, by both sides' one-time keys ─► Hello ─► nonce, key, worker and epoch agree ─► its taker gets it
                    │                                  │                  │
                    └──────────────┬───────────────────┴──────────────────┘
                                   ▼
                       refused: closed at once, and logged

A connection has `patience` seconds for all of this, and only so many may be on the way at a time: whoever connects and
says nothing costs one descriptor for that long.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, cast

from ...wire.frames import FrameError, FrameReader
from ...wire.remote_messages import Hello
from .tickets import Refused, Tickets
from .tls_transport import TlsTransport

log = logging.getLogger(__name__)

MOST_GREETINGS: Final = 256  # connections that have not shown a nonce yet
_HELLO: Final = 4096  # bytes of a Hello at most
_LOGGED: Final = 10  # refusals that are logged one by one in a period of so many seconds
_PERIOD: Final = 60.0

Taker = Callable[[asyncio.Transport, Hello], None]
"""Takes over a connection: it must set the transport's protocol at once."""


class Listener:
    """A TCP listener that hands each connection to the taker of its nonce. Without a `context` nothing is encrypted."""

    def __init__(
        self, tickets: Tickets[Taker], context: ssl.SSLContext | None, *, patience: float = 10.0,
        most: int = MOST_GREETINGS,
    ) -> None:  # fmt: skip
        self._tickets = tickets
        self._context = context
        self._patience = patience
        self._most = most
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._greetings: set[asyncio.Task[None]] = set()
        self._refusals = _Refusals()

    async def open(self, host: str, port: int = 0) -> int:
        """Listen, and return the port. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=1024)
        self._socket.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._socket), name="remote workers' listener")
        return self._socket.getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and end the connections that no taker has."""
        tasks = [*self._greetings, *filter(None, [self._accepting])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError as error:  # no descriptor is left, or the peer has gone already
                self._refusals.note(("?", 0), str(error))
                await asyncio.sleep(0.1)
                continue
            if len(self._greetings) >= self._most:
                accepted.close()
                self._refusals.note(peer, f"{self._most} connections have shown no nonce yet")
                continue
            task = loop.create_task(self._greet(accepted, peer))
            self._greetings.add(task)
            task.add_done_callback(self._greetings.discard)

    async def _greet(self, accepted: socket.socket, peer: Any) -> None:
        tune(accepted)
        greeting = _Greeting()
        raw: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(self._patience):
                raw = await self._connect(accepted, greeting)
                hello = await greeting.hello
            assert greeting.transport is not None
            self._tickets.redeem(hello, _fingerprint(greeting.transport))(greeting.transport, hello)
        except TimeoutError:
            self._refusals.note(peer, f"it showed no nonce in {self._patience:g} s")
        except (Refused, FrameError, OSError) as error:  # ssl.SSLError is an OSError
            self._refusals.note(peer, str(error))
        else:
            return
        if raw is not None:
            raw.abort()
        accepted.close()

    async def _connect(self, accepted: socket.socket, greeting: _Greeting) -> asyncio.Transport:
        loop, context = asyncio.get_running_loop(), self._context
        protocol = (lambda: TlsTransport(context, greeting)) if context is not None else (lambda: greeting)
        raw, _ = await loop.connect_accepted_socket(protocol, accepted)
        return cast("asyncio.Transport", raw)


class _Greeting(asyncio.BufferedProtocol):
    """A connection that has not shown its nonce yet."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.hello: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self.hello.add_done_callback(lambda hello: hello.cancelled() or hello.exception())
        self._reader: FrameReader[Hello] = FrameReader(Hello, _HELLO)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        if self.hello.done():  # nothing may follow a Hello before it is answered
            self.abort()
            return
        try:
            self._reader.buffer_updated(nbytes)
            frame = self._reader.next_frame()
        except FrameError as error:
            self.hello.set_exception(error)
            return
        if frame is None:
            return
        if self._reader.pending:
            self.hello.set_exception(FrameError("more than a Hello was sent"))
            return
        self.hello.set_result(frame.message)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.hello.done():
            late = ConnectionResetError("it closed the connection before it showed a nonce")
            self.hello.set_exception(exc if isinstance(exc, ssl.SSLError) else late)

    def abort(self) -> None:
        """End the connection at once."""
        if self.transport is not None:
            self.transport.abort()


class _Refusals:
    """The log of refusals, which a stranger can't make long: after the first ones of a minute they are only counted."""

    def __init__(self) -> None:
        self._since = 0.0
        self._count = 0

    def note(self, peer: Any, why: str) -> None:
        now = time.monotonic()
        if now - self._since >= _PERIOD:
            if self._count > _LOGGED:
                log.warning("%d more connections of remote workers were refused", self._count - _LOGGED)
            self._since, self._count = now, 0
        self._count += 1
        if self._count <= _LOGGED:
            log.warning("A connection from %s:%s as a remote worker is refused: %s", peer[0], peer[1], why)


def tune(sock: socket.socket) -> None:
    """Have small frames leave at once, and the kernel ask an idle peer whether it is there still."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with contextlib.suppress(AttributeError, OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def _fingerprint(transport: asyncio.Transport) -> str:
    """Return the SHA-256 of the peer's certificate, "" if the connection is not encrypted."""
    found = transport.get_extra_info("ssl_object")
    return "" if found is None else hashlib.sha256(found.getpeercert(binary_form=True)).hexdigest()
