"""A worker's side of the memory that it shares with the front: requests' bodies to read, results' bodies to write."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import threading
from collections.abc import Iterable, Sequence

from ..payload import Body
from ..wire.buddy_allocator import MIN_BLOCK, BuddyAllocator
from ..wire.frames import FrameError


class Inbox:
    """Requests' bodies. The front leaves them alone until their batch is answered.

    The front hands over a memory by `control` before it tells of a body there, and now and then a new one, which takes
    the place of the one before.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._control.setblocking(False)
        self._view = memoryview(b"")

    def view(self, offset: int, size: int) -> memoryview:
        """The body that lies there, to be read. Raises FrameError."""
        self._take_new()
        if offset < 0 or size < 0 or offset + size > len(self._view):
            raise FrameError("a body lies outside of the shared memory")
        return self._view[offset : offset + size]

    def _take_new(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                _, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)  # Python 3.11 takes no flags here
                if not descriptors:  # the front has closed it
                    return
                (descriptor,) = descriptors
                self._view = memoryview(mmap.mmap(descriptor, os.fstat(descriptor).st_size, prot=mmap.PROT_READ))
                os.close(descriptor)


class Outbox:
    """Results' bodies. For any thread."""

    def __init__(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        self._mapping = mmap.mmap(descriptor, size)
        self._allocator = BuddyAllocator(size)
        self._lock = threading.Lock()
        os.close(descriptor)

    def place(self, bodies: Sequence[Body]) -> dict[int, int]:
        """Copies large bodies there, as far as there is room; their offsets, by their index."""
        places: dict[int, int] = {}
        for index, body in enumerate(bodies):
            size = len(body)
            if size < MIN_BLOCK:
                continue
            with self._lock:
                offset = self._allocator.allocate(size)
            if offset is not None:
                self._mapping[offset : offset + size] = body
                places[index] = offset
        return places

    def give(self, offsets: Iterable[int]) -> None:
        """The front is done with what lies there."""
        with self._lock:
            for offset in offsets:
                self._allocator.free(offset)
