"""ArrivingBody: a prediction's body that is received beside aiohttp, into one buffer that grows with what has come."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from ...core.errors import ServeError
from ...core.payload import Body
from ..message.limits import Limits

if TYPE_CHECKING:
    from ...core.dataplane import Arrival

_FIRST_ROOM = 4096  # bytes, for a body of which less than half of that has come
_MORE_ROOM = 2  # times what has come


class Receiver(Protocol):
    """The connection on which a body arrives."""

    def whole(self, body: Body) -> None:
        """Take the body: it has come."""

    def refused(self, error: ServeError) -> None:
        """Give the body up, and answer with `error`."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client has left."""


class ArrivingBody(asyncio.BufferedProtocol):
    """A body of `length` bytes on its way to `receiver`: into `room`, which has all of it, or a buffer of its own.

    Meanwhile `arrival` counts the memory that it takes, and the model's batcher knows of it. `end` must follow `begin`.
    """

    __slots__ = ("_arrival", "_began", "_body", "_counted", "_last", "_length", "_receiver", "_shared", "received")

    def __init__(self, receiver: Receiver, arrival: Arrival, length: int, room: memoryview | None) -> None:
        self._receiver = receiver
        self._arrival = arrival
        self._began = self._last = monotonic()
        self._length = length
        self._shared = room is not None
        self._body: bytearray | memoryview = bytearray() if room is None else room
        self._counted = 0
        self.received = 0

    def begin(self, first: Body, *, lies_there: bool = False) -> None:
        """Begin with what has come behind the head, which may lie in the room already.

        Raises ServerFull, after which there is nothing to end.
        """
        self._arrival.__enter__()
        self.received = len(first)
        try:
            self._make_room(first)
        except ServeError:
            self.end()
            raise
        if self._shared and not lies_there:
            self._body[: len(first)] = first

    def end(self) -> None:
        """Note that nothing arrives any more."""
        self._arrival.__exit__(None, None, None)

    def late(self, now: float, limits: Limits, idle: float) -> str | None:
        """Return why this body has taken too long, if it has; `idle` seconds may pass between two pieces of it."""
        spent = now - self._began
        too_slow = spent > limits.body_grace + self.received / limits.body_rate
        if now - self._last <= idle and not too_slow:
            return None
        return f"The request body came too slowly: {self.received} of {self._length} bytes in {spent:.1f} s."

    # ---- asyncio's side

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._body)[self.received :]

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        self._last = monotonic()
        if self.received == self._length:
            self._receiver.whole(self._body)
            return
        try:
            self._make_room(self._body)
        except ServeError as error:
            self._receiver.refused(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.connection_lost(exc)

    # ----

    def _make_room(self, begin: Body) -> None:
        """Count what has come, and have room for more behind `begin`: no memory for a length that is only said.

        Raises ServerFull.
        """
        if self._shared:  # its pages are taken as they are written
            self._count(self.received)
        elif self.received == len(self._body) or not self._body:
            room = min(self._length, max(_FIRST_ROOM, _MORE_ROOM * self.received))
            self._count(room)
            body = self._body = bytearray(room)
            body[: self.received] = begin

    def _count(self, size: int) -> None:
        self._arrival.grow(size - self._counted)
        self._counted = size
