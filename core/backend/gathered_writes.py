"""GatheredWrites: what is written in one turn of a loop goes to the front together.

When a language model's step is done, each of its requests sends a token. One frame for all of them, which is one system
call and wakes the front once, costs a fraction of one for each. The same goes for other asynchronous handlers that
answer many requests at a time, but these may keep the loop for themselves: compute between two pieces without awaiting
anything. What they send must not wait for that, so a `Wary` watches how long a turn takes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

from ..payload import Body
from ..wire.frames import encode
from ..wire.messages import Pieces

MOST_GATHERED = 1 << 16  # bytes; more are written at once, so that a front that reads slowly is waited for
LATE = 0.001  # s between two things that a handler does, beyond which it keeps the loop for itself
AT_ONCE = 1000  # frames and pieces of such a handler that are written at once, before it is tried again


class GatheredWrites:
    """A writer of frames in front of `write`, which blocks until all is written. Frames keep their order.

    `failed` is called on the loop with an error of a write that nobody waits for.
    """

    def __init__(
        self,
        write: Callable[[list[Body]], None],
        loop: asyncio.AbstractEventLoop,
        failed: Callable[[OSError], None],
        wary: Wary | None = None,
    ) -> None:
        """Gather for a handler whose turns are short or, with `wary`, for one of which nothing is known."""
        self._write = write
        self._loop = loop
        self._failed = failed
        self._wary = wary
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
            if before is not None and self._wary is not None:
                self._flush()  # a piece stays a piece, and there was no turn of the loop between the two
                before = None
            self._pieces[batch] = body if before is None else before + body
            self._added(len(body), at_once=False)

    def _added(self, size: int, *, at_once: bool) -> None:
        """Write now, or have it done at the end of the turn."""
        first = not self._size
        self._size += size
        if at_once or self._size > MOST_GATHERED or threading.get_ident() != self._thread:
            self._flush()
        elif self._wary is None or self._wary.waits(first=first):
            if first:
                self._loop.call_soon(self.flush_now)
        else:
            self._flush()

    def flush(self) -> None:
        """Write what is gathered. Raises OSError."""
        with self._lock:
            self._flush()

    def flush_now(self) -> None:
        """Write what is gathered, for a caller that doesn't wait for it: `failed` is told of an error."""
        if self._wary is not None and self._size:
            self._wary.turned()
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


class Wary:
    """A watch over a handler that may keep the loop for itself: whether what it sends may wait for the turn's end.

    It may if several requests run, `running` of them, as a lone one would wait for nothing; and unless the handler has
    lately let LATE pass between a frame and what came next, another frame or the turn's end. No frame waits longer than
    LATE while others come. `clock` is replaced in tests.
    """

    def __init__(self, running: Callable[[], int], clock: Callable[[], float] = time.perf_counter) -> None:
        self._running = running
        self._clock = clock
        self._first = self._latest = 0.0  # when frames of this turn were sent
        self._at_once = 0

    def waits(self, *, first: bool) -> bool:
        """Return whether a frame that is sent now, the `first` of its turn or a further one, may wait."""
        if self._at_once:
            self._at_once -= 1
            return False
        now = self._clock()
        if first:
            self._first = now
        elif now - self._latest > LATE:
            self._at_once = AT_ONCE
            return False
        self._latest = now
        return self._running() > 1 and now - self._first <= LATE

    def turned(self) -> None:
        """Note that the turn has ended in which frames have waited."""
        if not self._at_once and self._clock() - self._latest > LATE:
            self._at_once = AT_ONCE
