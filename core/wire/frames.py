"""Frames on a byte stream, without I/O: a message and the bodies that travel beside it, in both directions.

A frame is a 16-byte prefix (magic, length of the head, length of all bodies), the head (msgpack of the message and of
each body's length), then the bodies end to end. May import msgspec and core.payload.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, TypeVar, cast

import msgspec

from ..payload import Body

M = TypeVar("M")

_MAGIC: Final = b"TSW1"
_PREFIX: Final = struct.Struct("<4sIQ")
_ENCODER: Final = msgspec.msgpack.Encoder()
_SMALL: Final = 4096
_SCRATCH: Final = 1 << 16


class FrameError(Exception):
    """The bytes are not frames of the expected kind, or a frame is larger than allowed: the stream is lost."""


@dataclass(frozen=True, slots=True)
class Frame(Generic[M]):
    """A message with its bodies, in the order the message speaks of them."""

    message: M
    bodies: tuple[Body, ...] = ()


def encode(message: msgspec.Struct, bodies: Sequence[Body] = ()) -> list[Body]:
    """The frame as buffers to write in order. Bodies over 4 KiB are passed through as they are, never copied;
    smaller ones are joined, because a buffer of its own costs more than the copy.

    Raises TypeError when the message holds something msgpack can't carry.
    """
    sizes = [body.nbytes if isinstance(body, memoryview) else len(body) for body in bodies]
    run = bytearray(_PREFIX.size)
    _ENCODER.encode_into((message, sizes), run, _PREFIX.size)
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

    `kind` is the message type or union expected; `max_frame` bounds a whole frame in bytes. A frame larger than the
    64 KiB scratch buffer lands in a buffer of its own, exactly sized, and its bodies are views into it; the bodies of a
    smaller one are bytes.
    """

    def __init__(self, kind: Any, max_frame: int) -> None:
        self._decoder = msgspec.msgpack.Decoder(tuple[kind, tuple[Annotated[int, msgspec.Meta(ge=0)], ...]])
        self._max_frame = max_frame
        self._scratch = memoryview(bytearray(_SCRATCH))
        self._start = 0
        self._end = 0
        self._large: memoryview | None = None
        self._filled = 0

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Where the next bytes go; never empty while `next_frame` was called until None. BufferError otherwise."""
        if self._large is not None:
            return self._large[self._filled :]
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
            self._filled += n
        else:
            self._end += n

    def next_frame(self) -> Frame[M] | None:
        """The next whole frame, or None when more bytes are needed. FrameError: garbage, or a frame over max_frame."""
        if self._large is not None:
            if self._filled < len(self._large):
                return None
            large, self._large = self._large, None
            return self._cut(large, copy=False)
        available = self._end - self._start
        if available < _PREFIX.size:
            return None
        total = self._total()
        if total > _SCRATCH:
            self._large = memoryview(bytearray(total))
            self._large[:available] = self._scratch[self._start : self._end]
            self._filled = available
            self._start = self._end = 0
            return None
        if available < total:
            return None
        begin, self._start = self._start, self._start + total
        return self._cut(self._scratch[begin : begin + total], copy=True)

    @property
    def pending(self) -> int:
        """Bytes received that are not a whole frame yet; at the end of a stream anything but 0 means it was cut."""
        return self._filled if self._large is not None else self._end - self._start

    def _total(self) -> int:
        magic, head, bodies = _PREFIX.unpack_from(self._scratch, self._start)
        if magic != _MAGIC:
            raise FrameError(f"expected a frame, got {magic!r}")
        total = _PREFIX.size + head + bodies
        if total > self._max_frame:
            raise FrameError(f"a frame of {total} bytes is over the limit of {self._max_frame}")
        return total

    def _cut(self, frame: memoryview, *, copy: bool) -> Frame[M]:
        _, head, total = _PREFIX.unpack_from(frame)
        at = _PREFIX.size + head
        try:
            message, sizes = cast("tuple[M, tuple[int, ...]]", self._decoder.decode(frame[_PREFIX.size : at]))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise FrameError(f"a frame's head can't be read: {error}") from error
        if sum(sizes) != total:
            raise FrameError(f"a frame's bodies add up to {sum(sizes)} bytes, its prefix says {total}")
        bodies: list[Body] = []
        for size in sizes:
            body = frame[at : at + size]
            bodies.append(bytes(body) if copy else body)
            at += size
        return Frame(message, tuple(bodies))
