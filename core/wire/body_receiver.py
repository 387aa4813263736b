"""BodyReceiver: the buffers into which the bodies of one large frame are received, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import Final

from ..payload import Body
from .raw_bytearray import raw_bytearray

_OWN_BUFFER: Final = 1 << 15  # bytes; a body over this is worth a buffer, and a system call, of its own


class BodyReceiver:
    """A receiver of bodies of known sizes, in order. Each byte is written once, where it stays.

    A body of over 32 KiB gets a bytearray of its own; smaller ones that follow one another share one, as memoryviews of
    it. A buffer is allocated when its turn comes, so that it is still in the processor's cache when it is filled.
    """

    __slots__ = ("_next", "_room", "_sizes", "bodies", "received")

    def __init__(self, sizes: Sequence[int]) -> None:
        self.bodies: list[Body] = []
        self.received = 0  # bytes
        self._sizes = sizes
        self._next = 0  # index of the first body without a buffer
        self._room = memoryview(b"")  # what is left of the current buffer

    def get_buffer(self) -> memoryview:
        """Return where the next bytes go; empty once all bodies are complete."""
        while not len(self._room) and self._next < len(self._sizes):
            self._room = self._allocate()
        return self._room

    def buffer_updated(self, n: int) -> None:
        """Note that `n` bytes were written at the start of the last `get_buffer()`."""
        self.received += n
        self._room = self._room[n:]

    def write(self, data: memoryview) -> None:
        """Copy `data`, which must not be more than is missing."""
        while len(data):
            room = self.get_buffer()
            n = min(len(room), len(data))
            room[:n] = data[:n]
            self.buffer_updated(n)
            data = data[n:]

    @property
    def complete(self) -> bool:
        """Whether all bodies have been received."""
        return not len(self.get_buffer())

    def _allocate(self) -> memoryview:
        """Return a buffer for the next body, or for all small ones up to the next large one."""
        if self._sizes[self._next] > _OWN_BUFFER:
            body = raw_bytearray(self._sizes[self._next])  # handed on only once all of it is written
            self.bodies.append(body)
            self._next += 1
            return memoryview(body)
        small = tuple(takewhile(lambda size: size <= _OWN_BUFFER, self._sizes[self._next :]))
        shared = memoryview(bytearray(sum(small)))
        ends = tuple(accumulate(small))
        self.bodies += [shared[end - size : end] for size, end in zip(small, ends, strict=True)]
        self._next += len(small)
        return shared
