"""GatheredWrites: frames that are written in one turn of a loop go to the front together.

When a language model's step is done, each of its requests sends a token. One system call for all of them, which wakes
the front once, costs a fraction of one for each.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from ..payload import Body

MOST_GATHERED = 1 << 16  # bytes; more are written at once, so that a front that reads slowly is waited for


class GatheredWrites:
    """A writer of frames in front of `write`, which blocks until all is written. Frames keep their order.

    `failed` is called on the loop with an error of a write that nobody waits for.
    """

    def __init__(
        self, write: Callable[[list[Body]], None], loop: asyncio.AbstractEventLoop, failed: Callable[[OSError], None]
    ) -> None:
        self._write = write
        self._loop = loop
        self._failed = failed
        self._lock = threading.Lock()
        self._thread = threading.get_ident()
        self._gathered: list[Body] = []
        self._size = 0

    def send(self, buffers: Sequence[Body]) -> None:
        """Write a frame at the end of the loop's turn; at once if it is large or of another thread. Raises OSError."""
        size = sum(map(len, buffers))
        with self._lock:
            first = not self._gathered
            self._gathered += buffers
            self._size += size
            # A large body is a buffer of its own, which its handler may write to again.
            if len(buffers) > 1 or self._size > MOST_GATHERED or threading.get_ident() != self._thread:
                self._flush()
            elif first:
                self._loop.call_soon(self._flush_later)

    def flush(self) -> None:
        """Write what is gathered. Raises OSError."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        gathered, self._gathered, self._size = self._gathered, [], 0
        if gathered:
            self._write(gathered)

    def _flush_later(self) -> None:
        try:
            self.flush()
        except OSError as error:
            self._failed(error)
