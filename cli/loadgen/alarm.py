"""A timer that is exact to microseconds.

The event loop's own timers are up to a millisecond late, and this lateness would be counted as the server's latency.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable

_MONOTONIC, _ABSOLUTE = 1, 1


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("interval", _Time), ("value", _Time))


class Alarm:
    """A Linux timerfd that calls `ring` once when time.monotonic() reaches the time last given to `at`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._loop, self._ring = loop, ring
        self._file = self._libc.timerfd_create(_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._timer = _Timer()
        self._pointer = ctypes.byref(self._timer)
        loop.add_reader(self._file, self._read)

    def at(self, when: float) -> None:
        """Set the time at which to ring. A time that has passed rings at once."""
        nanoseconds = max(int(when * 1e9), 1)
        self._timer.value.seconds, self._timer.value.nanoseconds = divmod(nanoseconds, 1_000_000_000)
        self._libc.timerfd_settime(self._file, _ABSOLUTE, self._pointer, None)

    def close(self) -> None:
        """Stop the timer and close its file descriptor."""
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def _read(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:
            return  # the timer was set again after it had rung
        self._ring()
