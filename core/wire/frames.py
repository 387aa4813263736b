"""Frames on a byte stream, without I/O: a message and the bodies that travel beside it, in both directions.

A frame is a 16-byte prefix (magic, length of the head, length of the bodies that follow it), the head (msgpack of the
message, of each body's length, and of the offsets of those that lie in shared memory), then the others end to end. May
import msgspec and core.payload.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from types import GenericAlias, MappingProxyType
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec

from ..payload import Body

M = TypeVar("M")
Lend = Callable[[int, int], Body]  # (offset, size); raises FrameError where no such body can lie
_Natural = Annotated[int, msgspec.Meta(ge=0)]
_Lent = Sequence[tuple[int, Body]]  # index and body
_Head = tuple[M, Sequence[int], Mapping[int, int] | None]

_MAGIC: Final = b"TSW1"
_PREFIX: Final = struct.Struct("<4sIQ")
_ENCODER: Final = msgspec.msgpack.Encoder()
_SMALL: Final = 4096
_SCRATCH: Final = 1 << 16
_OWN: Final = 1 << 15  # a body over this is worth a buffer, and a system call, of its own
_NOWHERE: Final[Mapping[int, int]] = MappingProxyType({})


class FrameError(Exception):
    """The bytes are not frames of the expected kind, or a frame is larger than allowed: the stream is lost."""


@dataclass(frozen=True, slots=True)
class Frame(Generic[M]):
    """A message with its bodies, in the order the message speaks of them."""

    message: M
    bodies: tuple[Body, ...] = ()


def encode(message: msgspec.Struct, bodies: Sequence[Body] = (), places: Mapping[int, int] = _NOWHERE) -> list[Body]:
    """The frame as buffers to write in order. Bodies over 4 KiB are passed through as they are, never copied;
    smaller ones are joined, because a buffer of its own costs more than the copy.

    `places` are the offsets of the bodies that lie in shared memory, by their index; these are left out.
    Raises TypeError when the message holds something msgpack can't carry.
    """
    sizes = [body.nbytes if isinstance(body, memoryview) else len(body) for body in bodies]
    run = bytearray(_PREFIX.size)
    _ENCODER.encode_into((message, sizes, places or None), run, _PREFIX.size)
    if places:
        bodies = [body for index, body in enumerate(bodies) if index not in places]
        sizes = [size for index, size in enumerate(sizes) if index not in places]
    _PREFIX.pack_into(run, 0, _MAGIC, len(run) - _PREFIX.size, sum(sizes))
    buffers: list[Body] = [run]
    if max(sizes, default=0) <= _SMALL:
        run += b"".join(bodies)
        return buffers
    for body, size in zip(bodies, sizes, strict=True):
        if size > _SMALL:
            buffers.append(body)
            run = None
        elif run is None:
            run = bytearray(body)
            buffers.append(run)
        else:
            run += body
    return buffers


class FrameReader(Generic[M]):
    """Cuts a byte stream into frames. Receive into `get_buffer()`, report with `buffer_updated(n)`, then take frames
    with `next_frame()` until it says None (as asyncio.BufferedProtocol does).

    `kind` is the message type or union expected; `max_frame` bounds a whole frame in bytes. The bodies of a frame that
    fits in the 64 KiB scratch buffer are bytes. Of a larger one each body over 32 KiB is received into a bytearray of
    its own, which is the reader's to keep: nobody else has it, and it goes when its last user has gone. The others are
    views. A body in shared memory is whatever `lend` makes of its offset and its size.
    """

    def __init__(self, kind: Any, max_frame: int, lend: Lend | None = None) -> None:
        header: Any = GenericAlias(tuple, (kind, tuple[_Natural, ...], dict[_Natural, _Natural] | None))
        self._decoder: msgspec.msgpack.Decoder[_Head[M]] = msgspec.msgpack.Decoder(header)
        self._max_frame = max_frame
        self._lend = lend
        self._scratch = memoryview(bytearray(_SCRATCH))
        self._start = 0
        self._end = 0
        self._large: _Large[M] | None = None

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Where the next bytes go; never empty while `next_frame` was called until None. BufferError otherwise."""
        if self._large is not None:
            return self._large.room()
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start and self._end > _SCRATCH // 2:
            rest = self._end - self._start
            self._scratch[:rest] = self._scratch[self._start : self._end]
            self._start, self._end = 0, rest
        if self._end == _SCRATCH:
            raise BufferError("the buffer is full: take the frames with next_frame() before receiving more")
        return self._scratch[self._end :]

    def buffer_updated(self, n: int) -> None:
        """`n` bytes were written at the start of the last `get_buffer()`."""
        if self._large is not None:
            self._large.fill(n)
        else:
            self._end += n

    def next_frame(self) -> Frame[M] | None:
        """The next whole frame, or None when more bytes are needed. FrameError: garbage, or a frame over max_frame."""
        if self._large is not None:
            return self._landed(self._large)
        available = self._end - self._start
        if available < _PREFIX.size:
            return None
        total, head = self._measure()
        if total > _SCRATCH:
            if head > _SCRATCH:
                self._land(_Large(None, (total,), ()))
            elif available >= head:
                self._land(_Large(*self._head(self._scratch[self._start : self._start + head])), skip=head)
            return None if self._large is None else self._landed(self._large)
        if available < total:
            return None
        begin, self._start = self._start, self._start + total
        return self._cut(self._scratch[begin : begin + total], copy=True)

    @property
    def pending(self) -> int:
        """Bytes received that are not a whole frame yet; at the end of a stream anything but 0 means it was cut."""
        return self._large.received if self._large is not None else self._end - self._start

    def _measure(self) -> tuple[int, int]:
        """The size of the frame that begins at the start, and of that what comes before its bodies."""
        magic, head, bodies = _PREFIX.unpack_from(self._scratch, self._start)
        if magic != _MAGIC:
            raise FrameError(f"expected a frame, got {magic!r}")
        total = _PREFIX.size + head + bodies
        if total > self._max_frame:
            raise FrameError(f"a frame of {total} bytes is over the limit of {self._max_frame}")
        return total, _PREFIX.size + head

    def _land(self, large: _Large[M], skip: int = 0) -> None:
        """From here on bytes go where `large` has them; first those that came into the scratch buffer already."""
        rest = self._scratch[self._start + skip : self._end]
        self._start = self._end = 0
        large.received = skip
        while len(rest):
            room = large.room()
            n = min(len(room), len(rest))
            room[:n] = rest[:n]
            large.fill(n)
            rest = rest[n:]
        self._large = large

    def _landed(self, large: _Large[M]) -> Frame[M] | None:
        if len(large.room()):
            return None
        self._large = None
        if large.message is None:
            return self._cut(memoryview(large.bodies[0]), copy=False)
        return _whole(large.message, large.bodies, large.lent)

    def _head(self, begin: memoryview) -> tuple[M, Sequence[int], _Lent]:
        """From what comes before the bodies: the message, the sizes of those that follow, and those that were lent."""
        _, _, total = _PREFIX.unpack_from(begin)
        try:
            message, sizes, places = self._decoder.decode(begin[_PREFIX.size :])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise FrameError(f"a frame's head can't be read: {error}") from error
        lent: _Lent = ()
        if places:
            lent = self._borrow(sizes, places)
            sizes = [size for index, size in enumerate(sizes) if index not in places]
        if sum(sizes) != total:
            raise FrameError(f"a frame's bodies add up to {sum(sizes)} bytes, its prefix says {total}")
        return message, sizes, lent

    def _borrow(self, sizes: Sequence[int], places: Mapping[int, int]) -> _Lent:
        if self._lend is None or max(places) >= len(sizes):
            raise FrameError("a frame speaks of shared memory that there is not")
        if sum(sizes) > self._max_frame:
            raise FrameError(f"a frame's bodies of {sum(sizes)} bytes are over the limit of {self._max_frame}")
        return [(index, self._lend(places[index], sizes[index])) for index in sorted(places)]

    def _cut(self, frame: memoryview, *, copy: bool) -> Frame[M]:
        _, head, _ = _PREFIX.unpack_from(frame)
        at = _PREFIX.size + head
        message, sizes, lent = self._head(frame[:at])
        bodies: list[Body] = []
        for size in sizes:
            body = frame[at : at + size]
            bodies.append(bytes(body) if copy else body)
            at += size
        return _whole(message, bodies, lent)


def _whole(message: M, bodies: list[Body], lent: _Lent) -> Frame[M]:
    for index, body in lent:
        bodies.insert(index, body)
    return Frame(message, tuple(bodies))


class _Large(Generic[M]):
    """A frame that outgrows the scratch buffer, and where its bodies go. Each gets its place when it is its turn, so
    that a place is still in the processor's cache when it is filled.

    Without a message it is one whose head is too long as well: its only body is the whole frame.
    """

    __slots__ = ("_next", "_room", "_sizes", "bodies", "lent", "message", "received")

    def __init__(self, message: M | None, sizes: Sequence[int], lent: _Lent) -> None:
        self.message = message
        self.lent = lent
        self.bodies: list[Body] = []
        self.received = 0
        self._sizes = sizes
        self._next = 0  # of the bodies without a place, the first
        self._room = memoryview(b"")

    def room(self) -> memoryview:
        """Where the next bytes go; empty when the frame is whole."""
        while not len(self._room) and self._next < len(self._sizes):
            self._room = self._place()
        return self._room

    def fill(self, n: int) -> None:
        self.received += n
        self._room = self._room[n:]

    def _place(self) -> memoryview:
        """A buffer for the next body, or for all small ones up to the next large one."""
        if self._sizes[self._next] > _OWN:
            body = bytearray(self._sizes[self._next])
            self.bodies.append(body)
            self._next += 1
            return memoryview(body)
        small = tuple(takewhile(lambda size: size <= _OWN, self._sizes[self._next :]))
        run = memoryview(bytearray(sum(small)))
        ends = tuple(accumulate(small))
        self.bodies += [run[end - size : end] for size, end in zip(small, ends, strict=True)]
        self._next += len(small)
        return run
