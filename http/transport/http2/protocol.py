"""Http2Protocol: the asyncio driver of a Connection. Http2Factory makes them, and looks after them."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import cast

from ...app_context import AppContext
from ...message.limits import Limits
from ...message.malformed_log import MalformedRequestLog
from ...message.peer import Peer
from ...message.request import Head
from ...message.unsent_answers import write
from ..half_close import end_our_side
from .connection import Connection
from .http_application import HttpApplication
from .unsent_streams import UnsentStreams

_HIGH = 256 * 1024  # unsent bytes at which bodies wait on their streams, so that other streams' answers get between
_LOW = 64 * 1024
_FULL = 1024 * 1024
_SWEEPS = 4  # looks at each connection per shortest time limit


class Http2Protocol(asyncio.Protocol):
    """A connection. Nothing more is read while the client leaves `_FULL` bytes unread."""

    __slots__ = (
        "_closed",
        "_connection",
        "_ended",
        "_factory",
        "_full",
        "_going_on",
        "_loop",
        "_since",
        "_transport",
        "_unsent",
    )

    def __init__(self, factory: Http2Factory) -> None:
        self._factory = factory
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._connection: Connection | None = None
        self._unsent: UnsentStreams | None = None
        self._going_on = False  # whether frames that are here wait for their turn
        self._full = False  # whether nothing is read, as the client leaves too much unread
        self._ended = False  # what still comes is of no interest
        self._closed = False  # our side is closed: nothing can be sent any more
        self._since = monotonic()

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = made = cast("asyncio.Transport", transport)
        made.set_write_buffer_limits(high=_HIGH, low=_LOW)
        factory = self._factory
        peer = Peer.of(transport)
        connection = self._connection = Connection(
            factory.context.limits, factory.application, self._wake, self._refused, peer, self._since
        )
        self._unsent = UnsentStreams(factory.context.unsent, made, connection.outbox)
        factory.connections.add(self)
        if factory.context.draining:
            connection.drain()

    def connection_lost(self, exc: Exception | None) -> None:
        self._factory.connections.discard(self)
        self._transport = None
        if self._unsent is not None:
            self._unsent.leave()
            self._unsent = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.lost()

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.outbox.blocked = True

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.outbox.blocked = False
            self._full = False
            self._read_on()
            self._flush()

    def data_received(self, data: bytes) -> None:
        connection = self._connection
        if connection is None or self._ended:
            return
        connection.outbox.awake = True  # what is sent meanwhile goes out below, in one write
        connection.receive(data, monotonic())
        if connection.more and not self._going_on and self._transport is not None:
            self._going_on = True
            self._transport.pause_reading()
            _ = self._loop.call_soon(self._go_on)
        self._flush()

    def _go_on(self) -> None:
        """Read the frames that were left, now that other connections have had their turn."""
        self._going_on = False
        self._read_on()
        self.data_received(b"")

    def _read_on(self) -> None:
        connection, transport = self._connection, self._transport
        if connection is not None and transport is not None and not self._going_on and not self._full:
            transport.resume_reading()

    # ---- what goes out

    def _wake(self) -> None:
        _ = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        connection, transport, unsent = self._connection, self._transport, self._unsent
        if connection is None or transport is None or unsent is None or self._closed:
            return
        outbox = connection.outbox
        written = 0
        while True:
            again = outbox.waiting > 0 and outbox.pump()
            out = outbox.take()
            if out:
                written += write(transport, out)
            if not again or outbox.blocked:
                break
        unsent.count(written)
        if outbox.blocked and not self._full and transport.get_write_buffer_size() > _FULL:
            # What has come on top of the bodies are heads and answers to frames, which the client calls for.
            self._full = True
            transport.pause_reading()
        if connection.done and not self._ended:
            self._end(transport, sending=connection.over or connection.streams.closed.lingering)

    def _end(self, transport: asyncio.Transport, *, sending: bool) -> None:
        """Close our side. `sending`: the client may be sending still."""
        self._ended = True
        self._closed = True
        if sending and end_our_side(transport):
            _ = self._loop.call_later(self._factory.context.limits.linger, transport.close)
        else:
            transport.close()

    def _refused(self, status: int, why: str) -> None:
        context = self._factory.context
        connection = self._connection
        peer = connection.peer if connection is not None else None
        self._factory.malformed.note(peer, why)
        context.answered(Head("GET", "/bad-request", (), peer, "2.0", keep_alive=False), status)

    # ---- time limits

    @property
    def busy(self) -> bool:
        """Whether a request has no answer yet, or not all of it is taken, or a drain waits for the client's word."""
        connection, transport = self._connection, self._transport
        if connection is None or transport is None or self._ended:
            return False
        pending = bool(connection.streams.open) or connection.settling
        return pending or transport.get_write_buffer_size() > 0

    def look(self, now: float) -> None:
        """End what takes too long. Called every now and then."""
        connection, factory = self._connection, self._factory
        if connection is None or self._transport is None or self._ended:
            return
        connection.look(now)
        idle = connection.idle_since
        if idle is not None and now - idle > factory.context.limits.keep_alive:
            connection.drain()
        if now - self._since > factory.max_age:
            connection.drain()
        if now - self._since > factory.max_age + factory.age_grace:
            self.close()
            return
        self._flush()

    def drain(self) -> None:
        """Have the client open no more streams, and end the connection behind the last answer."""
        if self._connection is not None:
            self._connection.now = monotonic()
            self._connection.drain()

    @property
    def idle_since(self) -> float | None:
        """When nothing was going on any more; None if something is."""
        return None if self._connection is None or self.busy else self._connection.idle_since

    def close_idle(self) -> None:
        """End the connection, on which nothing is going on."""
        self.close()

    def close(self) -> None:
        """End the connection at once; the client is told which requests were looked at."""
        connection, transport = self._connection, self._transport
        if connection is not None and transport is not None:
            self._ended = True
            connection.close()
            self._flush()
            self._closed = True
            transport.close()


class Http2Factory:
    """A factory of protocols for the HTTP/2 connections of one listener.

    A connection that is older than `max_age` seconds is drained, and closed `age_grace` seconds later at the latest.
    """

    def __init__(self, application: HttpApplication, *, max_age: float = inf, age_grace: float = inf) -> None:
        self.context: AppContext = application.context
        self.application = application
        self.max_age = max_age
        self.age_grace = age_grace
        self.connections: set[Http2Protocol] = set()
        self.malformed = MalformedRequestLog()
        self._interval = _shortest(self.context.limits, max_age) / _SWEEPS
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._sweep)

    def __call__(self) -> asyncio.Protocol:
        return Http2Protocol(self)

    @property
    def busy(self) -> bool:
        return any(connection.busy for connection in self.connections)

    def drain(self) -> None:
        """Drain all connections, and look more often, as the limits are shorter from now on."""
        self._interval = min(self._interval, self.context.limits.drain_idle / _SWEEPS)
        for connection in list(self.connections):
            connection.drain()
        self._timer.cancel()
        self._sweep()

    def close(self) -> None:
        """End all connections."""
        self._timer.cancel()
        for connection in list(self.connections):
            connection.close()

    def _sweep(self) -> None:
        now = monotonic()
        self.application.look(now)
        for connection in list(self.connections):
            connection.look(now)
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._sweep)


def _shortest(limits: Limits, max_age: float) -> float:
    times = (limits.keep_alive, limits.head, limits.body_idle, limits.body_grace, limits.write_stall, max_age)
    return min(times)
