"""KeptHeap: freed memory stays with a worker while it works, and goes back to the system when it doesn't.

A model's intermediate results are as large in one batch as in the next. glibc takes pieces over 32 MiB from the system
and gives them back at once, as it does with the end of the heap beyond 62 MiB; each time the kernel clears new pages:
20,000 of them, a quarter of the processor time, for eight pictures of EfficientNet-Lite0, whose largest result has
37 MiB. How much of the heap's end is given back depends on what lies in it, so starts of one model differed.

What is kept is what the largest batch has needed. The end of the heap beyond 2 GiB and pieces over 1 GiB go back as
before, and all of it does after the load and when the worker has had next to nothing to do for half a minute.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

_TRIM_THRESHOLD: Final = -1  # mallopt's numbers
_MMAP_THRESHOLD: Final = -3
_MMAP_MAX: Final = -4
_END: Final = (1 << 31) - 1  # bytes of the heap's end that may stay: as many as mallopt takes
_PIECE: Final = 1 << 30  # bytes of a piece that comes from the heap, at most
_LOOK: Final = 30.0  # seconds
_IDLE: Final = 0.01  # share of a processor below which next to nothing is done


class KeptHeap:
    """The heap of a process that works at times. `trim` gives back what is free in it. Clocks are replaced in tests."""

    def __init__(
        self,
        trim: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.process_time,
    ) -> None:
        self._trim = trim
        self._clock = clock
        self._worked = worked
        self.give_back()

    def give_back(self) -> None:
        """Give back what is free."""
        self._trim()
        self._at, self._then = self._clock(), self._worked()
        self._since = self._then  # how long the process had worked when memory was given back

    def look(self) -> None:
        """Give back what is free if the process has done next to nothing since the last look, but something since
        memory was given back.
        """
        at, then = self._clock(), self._worked()
        allowed = _IDLE * (at - self._at)
        idle, used = then - self._then <= allowed, then - self._since > allowed
        self._at, self._then = at, then
        if idle and used:
            self.give_back()

    def watch(self) -> None:
        """Give back what is free now, and have a thread look from now on."""
        self.give_back()
        threading.Thread(target=self._look_for_ever, name="heap", daemon=True).start()

    def _look_for_ever(self) -> None:
        while True:
            time.sleep(_LOOK)
            self.look()


def keep_heap(environment: Mapping[str, str] = os.environ, libc: Any = None) -> KeptHeap | None:
    """Have the freed memory of this process stay with it, and return its heap, which the caller has to `watch`.

    None, and nothing is changed, with another C library or where the environment sets glibc's allocator. Tests replace
    `libc`.
    """
    libc = ctypes.CDLL(None) if libc is None else libc
    theirs = any(name.startswith("MALLOC_") for name in environment) or "malloc" in environment.get(
        "GLIBC_TUNABLES", ""
    )
    if theirs or not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        return None
    if not libc.mallopt(_MMAP_THRESHOLD, _PIECE):  # glibc before 2.35 takes 32 MiB at most
        libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _END)
    return KeptHeap(lambda: libc.malloc_trim(0))
