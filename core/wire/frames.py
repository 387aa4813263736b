"""Frames on a byte stream, without I/O: a message and the bodies that travel beside it, in both directions.

    prefix (16 bytes)        head (msgpack)                               bodies
    ┌──────┬──────┬────────┐ ┌─────────┬──────────┬─────────────────────┐ ┌─────────────────────────────┐
    │ TSW1 │ head │ bodies │ │ message │ sizes of │ offsets of those in │ │ the other bodies, in order, │
    │      │ len  │ len    │ │         │ bodies   │ shared memory       │ │ end to end                  │
    └──────┴──────┴────────┘ └─────────┴──────────┴─────────────────────┘ └─────────────────────────────┘

Writing. `encode` returns buffers for one `writelines`. Large bodies are among them as they are, small ones are joined.

Reading. `FrameReader` is fed like an asyncio.BufferedProtocol: receive into `get_buffer()`, report `buffer_updated(n)`,
then call `next_frame()` until it returns None. It has two states:

    ┌───────────────────────────────┐   a frame over 64 KiB begins    ┌────────────────────────────────────────┐
    │ SCRATCH: bytes go to a 64 KiB │ ──────────────────────────────► │ LARGE: bytes go to a BodyReceiver, for │
    │ buffer; whole frames are cut  │                                 │ each body to where it stays            │
    │ out of it, their bodies as    │ ◄────────────────────────────── │                                        │
    │ bytes                         │       the frame is complete     │                                        │
    └───────────────────────────────┘                                 └────────────────────────────────────────┘

A large frame's head is decoded in SCRATCH, as soon as it is there. If the head alone is over 64 KiB, LARGE receives the
whole frame as if it were one body, and the frame is cut out of that.

May import msgspec and core.payload.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from types import GenericAlias, MappingProxyType
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec

from ..payload import Body
from .body_receiver import BodyReceiver

M = TypeVar("M")
Lend = Callable[[int, int], Body]
"""Return the body at (offset, size) in shared memory. Raises FrameError if no body can lie there."""

_Natural = Annotated[int, msgspec.Meta(ge=0)]
_MAGIC: Final = b"TSW1"
_PREFIX: Final = struct.Struct("<4sIQ")
_ENCODER: Final = msgspec.msgpack.Encoder()
_JOIN: Final = 4096  # bytes; bodies up to this are joined
_SCRATCH: Final = 1 << 16
_Head = tuple[M, Sequence[int], Sequence[tuple[int, Body]]]
"""The message, the sizes of the bodies that follow it, and (index, body) of those in shared memory."""

_NONE_SHARED: Final[Mapping[int, int]] = MappingProxyType({})


class FrameError(Exception):
    """The bytes are not frames of the expected kind, or a frame is larger than allowed: the stream is lost."""


class Frame(msgspec.Struct, Generic[M], frozen=True):
    """A message with its bodies, in the order in which the message speaks of them."""

    message: M
    bodies: tuple[Body, ...] = ()


def encode(
    message: msgspec.Struct, bodies: Sequence[Body] = (), shared: Mapping[int, int] = _NONE_SHARED
) -> list[Body]:
    """Return the frame as buffers to write in order.

    Bodies over 4 KiB are passed through as they are, never copied; smaller ones are joined, because a buffer of its own
    costs more than the copy. `shared` maps the index of each body that lies in shared memory to its offset there; these
    are left out. Raises TypeError if the message holds something msgpack can't carry.
    """
    sizes = [body.nbytes if isinstance(body, memoryview) else len(body) for body in bodies]
    run = bytearray(_PREFIX.size)
    _ENCODER.encode_into((message, sizes, shared or None), run, _PREFIX.size)
    if shared:
        bodies = [body for index, body in enumerate(bodies) if index not in shared]
        sizes = [size for index, size in enumerate(sizes) if index not in shared]
    _PREFIX.pack_into(run, 0, _MAGIC, len(run) - _PREFIX.size, sum(sizes))
    buffers: list[Body] = [run]
    joined: bytearray | None = run  # what the next small body is added to
    if max(sizes, default=0) <= _JOIN:
        run += b"".join(bodies)
        return buffers
    for body, size in zip(bodies, sizes, strict=True):
        if size > _JOIN:
            buffers.append(body)
            joined = None
        elif joined is None:
            joined = bytearray(body)
            buffers.append(joined)
        else:
            joined += body
    return buffers


class FrameReader(Generic[M]):
    """A reader that cuts a byte stream into frames; the module's head has its states.

    Bodies of a frame of at most 64 KiB are bytes. In a larger one, a body over 32 KiB is a bytearray that nothing else
    refers to; the others are memoryviews. A body in shared memory is whatever `lend` returns for it.
    """

    def __init__(self, kind: Any, max_frame: int, lend: Lend | None = None) -> None:
        """Expect messages of `kind`, a type or a union, in frames of at most `max_frame` bytes, bodies included."""
        self._heads: _HeadDecoder[M] = _HeadDecoder(kind, max_frame, lend)
        self._max_frame = max_frame
        self._scratch = memoryview(bytearray(_SCRATCH))
        self._start = 0  # of what was received and not cut yet
        self._end = 0
        self._receiver: BodyReceiver | None = None  # in state LARGE
        self._head: _Head[M] | None = None  # of the large frame; None if it is received together with the bodies
        self._before = 0  # bytes of the large frame that came before what `_receiver` gets

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Return where the next bytes go; never empty if `next_frame` was called until it returned None.

        Raises BufferError if it was not.
        """
        if self._receiver is not None:
            return self._receiver.get_buffer()
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
        """Note that `n` bytes were written at the start of the last `get_buffer()`."""
        if self._receiver is not None:
            self._receiver.buffer_updated(n)
        else:
            self._end += n

    def next_frame(self) -> Frame[M] | None:
        """Return the next frame, or None if more bytes are needed. Raises FrameError for garbage and over max_frame."""
        if self._receiver is not None:
            return self._finish_large(self._receiver)
        start = self._start
        available = self._end - start
        if available < _PREFIX.size:
            return None
        magic, head_length, total = _PREFIX.unpack_from(self._scratch, start)
        head_end = _PREFIX.size + head_length
        size = head_end + total
        if magic != _MAGIC:
            raise FrameError(f"expected a frame, got {magic!r}")
        if size > self._max_frame:
            raise FrameError(f"a frame of {size} bytes is over the limit of {self._max_frame}")
        if size <= _SCRATCH:
            if available < size:
                return None
            self._start = start + size
            return self._cut(self._scratch[start + _PREFIX.size : start + size], head_length, total, copy=True)
        if head_end > _SCRATCH:
            return self._begin_large(None, BodyReceiver((size,)), skip=0)
        if available < head_end:
            return None
        head = self._heads.decode(self._scratch[start + _PREFIX.size : start + head_end], total)
        _, sizes, _ = head
        return self._begin_large(head, BodyReceiver(sizes), skip=head_end)

    @property
    def pending(self) -> int:
        """Bytes received that are not a whole frame yet: if not 0 at the end of the stream, the stream was cut."""
        if self._receiver is not None:
            return self._before + self._receiver.received
        return self._end - self._start

    def _begin_large(self, head: _Head[M] | None, receiver: BodyReceiver, skip: int) -> Frame[M] | None:
        """Enter LARGE: what has come of the frame beyond its first `skip` bytes goes to the receiver."""
        rest = self._scratch[self._start + skip : self._end]
        self._start = self._end = 0
        self._head, self._receiver, self._before = head, receiver, skip
        receiver.write(rest)
        return self._finish_large(receiver)

    def _finish_large(self, receiver: BodyReceiver) -> Frame[M] | None:
        """Return to SCRATCH with the large frame, if it is complete."""
        if not receiver.complete:
            return None
        head, self._head, self._receiver = self._head, None, None
        if head is None:
            whole = memoryview(receiver.bodies[0])
            _, head_length, total = _PREFIX.unpack_from(whole)
            return self._cut(whole[_PREFIX.size :], head_length, total, copy=False)
        message, _, lent = head
        _insert(receiver.bodies, lent)
        return Frame(message, tuple(receiver.bodies))

    def _cut(self, rest: memoryview, head_length: int, total: int, *, copy: bool) -> Frame[M]:
        """Return a frame of which all but the prefix is in one buffer; its bodies are copies or views of that."""
        message, sizes, lent = self._heads.decode(rest[:head_length], total)
        bodies: list[Body] = []
        at = head_length
        for size in sizes:
            body = rest[at : at + size]
            bodies.append(bytes(body) if copy else body)
            at += size
        if lent:
            _insert(bodies, lent)
        return Frame(message, tuple(bodies))


def _insert(bodies: list[Body], lent: Sequence[tuple[int, Body]]) -> None:
    """Have the bodies in shared memory take their places among those that followed."""
    for index, body in lent:
        bodies.insert(index, body)


class _HeadDecoder(Generic[M]):
    """A decoder of heads that checks what they say against their prefixes and against `max_frame`."""

    def __init__(self, kind: Any, max_frame: int, lend: Lend | None) -> None:
        head: Any = GenericAlias(tuple, (kind, tuple[_Natural, ...], dict[_Natural, _Natural] | None))
        self._decoder: msgspec.msgpack.Decoder[tuple[M, Sequence[int], Mapping[int, int] | None]] = (
            msgspec.msgpack.Decoder(head)
        )
        self._max_frame = max_frame
        self._lend = lend

    def decode(self, head: memoryview, total: int) -> _Head[M]:
        """Decode a head, whose prefix says that so many bytes of bodies follow in total. Raises FrameError."""
        try:
            message, sizes, shared = self._decoder.decode(head)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise FrameError(f"a frame's head can't be read: {error}") from error
        lent: Sequence[tuple[int, Body]] = ()
        if shared:
            lent = self._borrow(sizes, shared)
            sizes = [size for index, size in enumerate(sizes) if index not in shared]
        if sum(sizes) != total:
            raise FrameError(f"a frame's bodies add up to {sum(sizes)} bytes, its prefix says {total}")
        return message, sizes, lent

    def _borrow(self, sizes: Sequence[int], shared: Mapping[int, int]) -> list[tuple[int, Body]]:
        """Return (index, body) of the bodies in shared memory, ascending."""
        if self._lend is None or max(shared) >= len(sizes):
            raise FrameError("a frame speaks of shared memory that there is not")
        if sum(sizes) > self._max_frame:
            raise FrameError(f"a frame's bodies of {sum(sizes)} bytes are over the limit of {self._max_frame}")
        return [(index, self._lend(shared[index], sizes[index])) for index in sorted(shared)]
