"""DeathWatch: tells the event loop that a child process has ended, by a pidfd, or by a thread where there are none."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import Callable

from ..pidfd import open_pidfd


class DeathWatch:
    """A watch over the child `pid`, which nobody has waited for: `ended`, called once by the event loop, does so.

    Raises OSError if there is no descriptor or no thread left.
    """

    def __init__(self, pid: int, ended: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        descriptor = open_pidfd(pid)
        if descriptor is not None:
            self._loop.add_reader(descriptor, self._readable, descriptor)
            return
        thread = threading.Thread(target=self._wait, args=(pid,), name=f"end of {pid}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from None

    def _readable(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        self._ended()

    def _wait(self, pid: int) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # the number stays the child's until `ended`
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(self._ended)
