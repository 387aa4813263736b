"""GatheredWrites: what is written in one turn of a loop goes to the front together.

When a language model's step is done, each of its requests sends a token. One frame for all of them, which is one system
call and wakes the front once, costs a fraction of one for each.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from ..payload import Body
from ..wire.frames import encode
from ..wire.messages import Pieces

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
        self._pieces: dict[int, bytes] = {}  # by batch, behind what is gathered
        self._size = 0

    def send(self, buffers: Sequence[Body]) -> None:
        """Write a frame at the end of the loop's turn; at once if it is large or of another thread. Raises OSError."""
        with self._lock:
            self._frame_pieces()
            self._gathered += buffers
            # A large body is a buffer of its own, which its handler may write to again.
            self._added(sum(map(len, buffers)), at_once=len(buffers) > 1)

    def piece(self, batch: int, body: bytes) -> None:
        """Write a further piece of a batch's answer as `send` does, in one frame with those of other batches.

        Raises OSError.
        """
        with self._lock:
            before = self._pieces.get(batch)
            self._pieces[batch] = body if before is None else before + body
            self._added(len(body), at_once=False)

    def _added(self, size: int, *, at_once: bool) -> None:
        """Write now, or have it done at the end of the turn."""
        first = not self._size
        self._size += size
        if at_once or self._size > MOST_GATHERED or threading.get_ident() != self._thread:
            self._flush()
        elif first:
            self._loop.call_soon(self.flush_now)

    def flush(self) -> None:
        """Write what is gathered. Raises OSError."""
        with self._lock:
            self._flush()

    def flush_now(self) -> None:
        """Write what is gathered, for a caller that doesn't wait for it: `failed` is told of an error."""
        try:
            self.flush()
        except OSError as error:
            self._failed(error)

    def _flush(self) -> None:
        self._frame_pieces()
        gathered, self._gathered, self._size = self._gathered, [], 0
        if gathered:
            self._write(gathered)

    def _frame_pieces(self) -> None:
        """Make a frame of the pieces, so that what comes next is behind them."""
        if self._pieces:
            pieces, self._pieces = self._pieces, {}
            self._gathered += encode(Pieces(tuple(pieces)), list(pieces.values()))
