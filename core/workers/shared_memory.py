"""The front's side of the memory shared with workers, where large bodies lie instead of going over the socket.

It has no name: workers get its descriptor. A body never waits for room: if there is none, it goes over the socket. A
region is in use while there is a view of it, however sliced, and is free again once the last view is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import logging
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from ..payload import Body
from ..wire.buddy_allocator import MIN_BLOCK, BuddyAllocator, block_size
from ..wire.frames import FrameError
from .memfd import F_ADD_SEALS, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, make_memfd

log = logging.getLogger(__name__)

S = TypeVar("S", bound="Shared")

# Sizes in bytes; only pages in use, or used within QUIET seconds, cost memory.
REQUESTS: Final = 1 << 28  # of a model version
RESULTS: Final = 1 << 27  # of a worker
QUIET: Final = 5.0  # seconds without use until pages are given back; getting new ones takes 0.4 ms per MB


class Shared(ABC):
    """A memory that is shared with workers, mapped.

    After `close`, views of it stay valid, and the last one releases the memory.
    """

    def __init__(self, size: int) -> None:
        """Raise OSError if the system grants no such memory."""
        self._mapping: mmap.mmap | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._size = size
        self._back: list[int] = []  # offsets of free regions, appended by the thread that dropped the last view
        self._used = False
        if _counts_every_page():
            raise OSError("a page that is not granted when it is touched would end the process")
        self.descriptor, self._mapping = self._make()

    def _make(self) -> tuple[int, mmap.mmap]:
        """Return the descriptor and the front's mapping of a new memory. Raises OSError."""
        descriptor = make_memfd("torchserve")
        try:
            os.ftruncate(descriptor, self._size)
            mapping = mmap.mmap(descriptor, self._size)
            # A worker must not shorten the file: the front would be killed by SIGBUS while it reads.
            fcntl.fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, mapping

    def close(self) -> None:
        if self._mapping is not None:
            self._mapping = None
            os.close(self.descriptor)
        if self._timer is not None:
            self._timer.cancel()

    def __del__(self) -> None:
        self.close()

    def _region(self, mapping: mmap.mmap, offset: int, size: int) -> memoryview:
        region = _region_of(block_size(size)).from_buffer(mapping, offset)
        region.offset, region.back = offset, self._back
        self._used = True
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(QUIET, self._look)
        return memoryview(region).cast("B")[:size]

    def _returned(self) -> list[int]:
        n = len(self._back)
        offsets = self._back[:n]
        del self._back[:n]
        return offsets

    def _look(self) -> None:
        self._timer = None
        mapping = self._mapping
        if mapping is None:
            return
        if self._used or not self._trim(mapping):
            self._used = False
            self._timer = asyncio.get_running_loop().call_later(QUIET, self._look)

    @abstractmethod
    def _trim(self, mapping: mmap.mmap) -> bool:
        """Give back pages that are not in use. Return whether no other pages remain."""


class Requests(Shared):
    """A memory for requests' bodies, which the front writes and workers only read.

    Once the front has mapped it, it is sealed: nobody, not even root, can map it for writing or write to it any more.
    The same seal forbids giving back single pages. So once it is empty and unused, a new memory replaces it, and
    `generation` counts up; a worker is sent the new memory before it is told of a body in it.
    """

    def __init__(self, size: int = REQUESTS) -> None:
        self._sealed = False
        self.generation = 0
        super().__init__(size)
        self._allocator = BuddyAllocator(size)

    def _make(self) -> tuple[int, mmap.mmap]:
        writable, mapping = super()._make()
        try:
            self._sealed = _seal(writable, F_SEAL_FUTURE_WRITE)
            if not self._sealed:
                _say_unsealed()
            _seal(writable, F_SEAL_SEAL)
            return os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC), mapping
        finally:
            os.close(writable)

    def take(self, size: int) -> memoryview | None:
        """Return memory for a body, None if there is no room or the body is too small to be worth it."""
        if size < MIN_BLOCK or self._mapping is None:
            return None
        for offset in self._returned():
            self._allocator.free(offset)
        offset = self._allocator.allocate(size)
        return None if offset is None else self._region(self._mapping, offset, size)

    def place(self, bodies: Sequence[Body]) -> tuple[dict[int, int], list[memoryview]]:
        """Return the offsets of large bodies by index, and the views to keep until the worker has read them.

        A body that does not lie here yet is copied, which costs a third of sending it.
        """
        places: dict[int, int] = {}
        kept: list[memoryview] = []
        for index, body in enumerate(bodies):
            size = len(body)
            if size < MIN_BLOCK:
                continue
            view = body if isinstance(body, memoryview) and self._has(body) else self._copy(body, size)
            if view is not None:
                places[index] = self._offset(view)
                kept.append(view)
        return places, kept

    def _has(self, body: memoryview) -> bool:
        return getattr(body.obj, "back", None) is self._back and not body.readonly

    def _copy(self, body: Body, size: int) -> memoryview | None:
        room = self.take(size)
        if room is not None:
            room[:] = body
        return room

    @staticmethod
    def _offset(view: memoryview) -> int:
        region: Any = view.obj
        return region.offset + ctypes.addressof(ctypes.c_ubyte.from_buffer(view)) - ctypes.addressof(region)

    def _trim(self, mapping: mmap.mmap) -> bool:
        for offset in self._returned():
            self._allocator.free(offset)
        if not self._sealed:
            for offset, free in self._allocator.free_blocks():
                _give_back(mapping, offset, free)
        elif not self._allocator.allocated:
            with contextlib.suppress(OSError):  # if there is no new memory, the old one stays
                descriptor, self._mapping = self._make()
                os.close(self.descriptor)
                self.descriptor = descriptor
                self.generation += 1
        return not self._allocator.allocated


class Results(Shared):
    """A memory for one worker's results. The worker writes it, and is told which regions are free again."""

    def __init__(self, size: int = RESULTS) -> None:
        super().__init__(size)
        _seal(self.descriptor, F_SEAL_SEAL)
        self._lent = 0
        self.busy: Callable[[], bool] = lambda: True  # whether the worker may be writing

    def lend(self, offset: int, size: int) -> memoryview:
        """Return a view of the body that the worker has put there. Raises FrameError."""
        taken = block_size(size)
        if self._mapping is None or size < 1 or offset < 0 or offset % taken or offset + taken > self._size:
            raise FrameError("a body lies outside of the shared memory")
        self._lent += 1
        return self._region(self._mapping, offset, size)

    def returned(self) -> tuple[int, ...]:
        """Return the offsets of regions that have become free since the last call."""
        if not self._back:
            return ()
        offsets = self._returned()
        self._lent -= len(offsets)
        return tuple(offsets)

    def _trim(self, mapping: mmap.mmap) -> bool:
        if self.busy() or self._lent > len(self._back):
            return False
        _give_back(mapping, 0, self._size)
        return True


def _seal(descriptor: int, seal: int) -> bool:
    """Add a seal. Return False if the kernel does not know it."""
    try:
        fcntl.fcntl(descriptor, F_ADD_SEALS, seal)
    except OSError:
        return False
    return True


@cache
def _say_unsealed() -> None:
    log.warning(
        "The kernel has no seal against writing (Linux has it since 5.1): a worker that means to can write to the"
        " bodies of its model's other requests."
    )


def _give_back(mapping: mmap.mmap, offset: int, size: int) -> None:
    """Give pages back to the system, where it takes them."""
    try:
        mapping.madvise(mmap.MADV_REMOVE, offset, size)
    except OSError as error:  # gVisor has no such call
        _say_kept(error.strerror)


@cache
def _say_kept(reason: str) -> None:
    log.info("The memory of large bodies is used again, and not given back to the system: %s", reason)


def shared(kind: Callable[[], S]) -> S | None:
    """Return a new memory, or None, logging why, if the system grants none."""
    try:
        return kind()
    except OSError as error:
        log.info("large bodies go over the workers' sockets: %s", error)
        return None


@cache
def _region_of(taken: int) -> Any:
    """Return the class of a region of `taken` bytes."""

    class Region(ctypes.c_ubyte * taken):
        offset: int
        back: list[int]

        def __del__(self) -> None:
            self.back.append(self.offset)

    return Region


@cache
def _counts_every_page() -> bool:
    """Return whether the system may refuse pages of a memory that it has granted (vm.overcommit_memory=2)."""
    try:
        return Path("/proc/sys/vm/overcommit_memory").read_text(encoding="ascii").strip() == "2"
    except OSError:
        return False
