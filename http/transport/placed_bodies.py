"""PlacedBodies: large bodies behind the head that came before, read to where their workers find them.

A client that sends large bodies mostly sends them behind the same head, one after the other. Read as usual, each is
copied out of the loop's buffer, from behind its head, and into the memory shared with the workers: three copies that
the processor's caches don't hold. Here that memory is what the kernel is given to read into, with room for the head
before the body's place:

    ┌──── block of the shared memory ──────────────────────────────────────────────────────┐
    │ unused │ head, as it came before │ body, at a multiple of 64 │ 64 bytes and what else │
    └──────────────────────────────────────────────────────────────────────────────────────┘

Anything else that comes, such as another head, half of one, or a request that is sent ahead, is the connection's to
read as usual from then on. The bytes behind the body are there because a read that fills its buffer has the loop read
once more.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ...core.errors import ServeError
from ..predict.predict_request import PredictRequest
from .arriving_body import ArrivingBody

WORTH_PLACING = 1 << 16  # bytes; smaller bodies go over the workers' sockets
_ALIGNED = 64  # bytes, to which a body begins: as many as a cache line has, and a multiple of each number's size
_BEHIND = 64  # bytes
_OTHERWISE = 8192  # bytes of a buffer for what is no body for the shared memory


class Connection(Protocol):
    """The connection on which bodies come."""

    @property
    def reads_ahead(self) -> bool:
        """Whether what comes now is of a request that may not be read yet, or of none."""
        ...

    def placed(self, request: PredictRequest, room: memoryview, received: int) -> None:
        """Take a request of whose body `received` bytes have come, at the beginning of `room`, which has all of it."""

    def read_as_usual(self, data: bytes) -> None:
        """Take what has come, and read what follows."""

    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...


class PlacedBodies(asyncio.BufferedProtocol):
    """A protocol of a connection whose next request is expected to have this head and a body of `length` bytes.

    `arrival` is the body of which only a part has come; the connection sets it.
    """

    __slots__ = ("_begin", "_connection", "_end", "_head", "_request", "_room", "_spare", "arrival")

    def __init__(self, connection: Connection, head: bytes, length: int, request: PredictRequest) -> None:
        self.arrival: ArrivingBody | None = None
        self._connection = connection
        self._head = head
        self._request = request
        self._begin = -len(head) % _ALIGNED + len(head)  # of the body, in its room
        self._end = self._begin + length
        self._room: memoryview | None = None  # what the kernel writes to
        self._spare: memoryview | None = None  # the same, where it is none of the shared memory

    def has_room(self) -> bool:
        """Return whether there is room for a body in the shared memory now."""
        return self._take() is not None

    def _take(self) -> memoryview | None:
        try:
            return self._request.room(self._end + _BEHIND)
        except ServeError:  # the model is gone: the request that comes is told so
            return None

    def get_buffer(self, sizehint: int) -> memoryview:
        if self.arrival is not None:
            return self.arrival.get_buffer(sizehint)
        room = self._room = None if self._connection.reads_ahead else self._take()
        if room is not None:
            return room[self._begin - len(self._head) :]
        self._spare = memoryview(bytearray(_OTHERWISE))
        return self._spare

    def buffer_updated(self, nbytes: int) -> None:
        if self.arrival is not None:
            self.arrival.buffer_updated(nbytes)
            return
        connection = self._connection
        head, begin, end = self._head, self._begin, self._end
        room, self._room, spare, self._spare = self._room, None, self._spare, None
        if room is None:
            connection.read_as_usual(bytes((spare or b"")[:nbytes]))
            return
        start = begin - len(head)
        received = start + nbytes
        if received < begin or bytes(room[start:begin]) != head:
            connection.read_as_usual(bytes(room[start:received]))
            return
        behind = bytes(room[end:received])
        connection.placed(self._request, room[begin:end], min(received, end) - begin)
        if behind:
            connection.read_as_usual(behind)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)
