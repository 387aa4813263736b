"""The worker's side of the memory shared with the front: it reads requests' bodies there and writes results' bodies."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import socket
import threading
from collections.abc import Iterable, Sequence

from ..payload import Body
from ..wire.buddy_allocator import MIN_BLOCK, BuddyAllocator
from ..wire.frames import FrameError


class Inbox:
    """The memory of requests' bodies. The front does not change a body until its batch is answered.

    The front sends the memory's descriptor by `control` before the frame of the first body in it, and sometimes a new
    one, which replaces the previous memory.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._control.setblocking(False)
        self._news = select.poll()  # whether a memory has come: a fifth of the time of a read that finds nothing
        self._news.register(control, select.POLLIN)
        self._view = memoryview(b"")
        self._unmapped: int | None = None  # the memory's descriptor, where this process may not map it
        self._size = 0

    def view(self, offset: int, size: int) -> memoryview:
        """Return the body at `offset`, read-only. Raises FrameError if it lies outside of the memory."""
        if self._news.poll(0):
            self._take_new()
        if offset < 0 or size < 0 or offset + size > self._size:
            raise FrameError("a body lies outside of the shared memory")
        if self._unmapped is not None:
            return memoryview(os.pread(self._unmapped, size, offset))
        return self._view[offset : offset + size]

    def _take_new(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                _, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)  # Python 3.11 takes no flags here
                if not descriptors:  # the front has closed the socket
                    return
                (descriptor,) = descriptors
                self._take(descriptor)

    def _take(self, descriptor: int) -> None:
        if self._unmapped is not None:
            os.close(self._unmapped)
        self._unmapped, self._view = None, memoryview(b"")
        self._size = os.fstat(descriptor).st_size
        try:
            self._view = memoryview(mmap.mmap(descriptor, self._size, prot=mmap.PROT_READ))
        except OSError:  # a limit of address space (ulimit -v), once the handler's libraries have taken theirs
            self._unmapped = descriptor
        else:
            os.close(descriptor)


class Outbox:
    """The memory of results' bodies. May be used by any thread."""

    def __init__(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._mapping: mmap.mmap | None = None
        with contextlib.suppress(OSError):  # a limit of address space (ulimit -v)
            self._mapping = mmap.mmap(descriptor, size)
            os.close(descriptor)
        self._allocator = BuddyAllocator(size)
        self._lock = threading.Lock()

    def place(self, bodies: Sequence[Body]) -> dict[int, int]:
        """Copy large bodies into the memory while there is room. Return their offsets by index."""
        places: dict[int, int] = {}
        for index, body in enumerate(bodies):
            size = len(body)
            if size < MIN_BLOCK:
                continue
            with self._lock:
                offset = self._allocator.allocate(size)
            if offset is not None:
                self._write(offset, body)
                places[index] = offset
        return places

    def _write(self, offset: int, body: Body) -> None:
        if self._mapping is not None:
            self._mapping[offset : offset + len(body)] = body
            return
        rest = memoryview(body)
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            offset, rest = offset + written, rest[written:]

    def give(self, offsets: Iterable[int]) -> None:
        """Free the regions that the front has finished reading."""
        with self._lock:
            for offset in offsets:
                self._allocator.free(offset)
