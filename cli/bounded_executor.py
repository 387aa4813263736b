"""BoundedExecutor: asyncio's thread pool, which a stop does not wait for without end."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from ..core.container_limits import whole_cores

PATIENCE = 2.0  # seconds
_MOST, _MORE = 32, 4  # threads, as in the standard library: at most, and beyond the cores


class BoundedExecutor(ThreadPoolExecutor):
    """A thread pool that waits for its threads for at most PATIENCE seconds when it is shut down.

    A thread may unpack gigabytes or wait for a file server that is away. The interpreter would wait for it in its turn:
    `stuck` says that the process has to be ended by os._exit.
    """

    stuck = False

    def __init__(self) -> None:
        # Said, as Python 3.13 would ask a system call for it that sandboxes refuse.
        super().__init__(min(_MOST, whole_cores() + _MORE), thread_name_prefix="asyncio")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        if wait:
            end = time.monotonic() + PATIENCE
            for thread in list(self._threads):
                thread.join(max(0.0, end - time.monotonic()))
            self.stuck = any(thread.is_alive() for thread in self._threads)
