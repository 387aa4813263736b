"""BodyQueue: the buffers of a body that wait under flow control. None of them is copied."""

from __future__ import annotations

from collections import deque

from ....core.payload import Body


class BodyQueue:
    """A queue of buffers.

    `size` are the bytes in it, and `kept` those of the buffers that they are of: a buffer is kept until its last byte
    is cut off. `taken` counts the bytes that were cut off so far.
    """

    __slots__ = ("_buffers", "_first", "kept", "size", "taken")

    def __init__(self) -> None:
        self._buffers: deque[Body] = deque()
        self._first: int | None = None  # bytes of the first buffer, where some of it was cut off
        self.size = self.kept = self.taken = 0

    def add(self, buffers: tuple[Body, ...], size: int) -> None:
        """Append buffers of `size` bytes together."""
        self._buffers.extend(each for each in buffers if len(each))
        self.size += size
        self.kept += size

    def cut(self, most: int) -> tuple[list[Body], int]:
        """Remove at most `most` bytes from the beginning, and return their buffers and their number."""
        buffers = self._buffers
        pieces: list[Body] = []
        left = most
        while buffers and left:
            piece = buffers[0]
            if len(piece) <= left:
                pieces.append(buffers.popleft())
                left -= len(piece)
                self.kept -= len(piece) if self._first is None else self._first
                self._first = None
                continue
            if self._first is None:
                self._first = len(piece)
            view = memoryview(piece)
            pieces.append(view[:left])
            buffers[0] = view[left:]
            left = 0
        size = most - left
        self.size -= size
        self.taken += size
        return pieces, size
