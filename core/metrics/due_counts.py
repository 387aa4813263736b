"""DueCounts: has model versions count what their requests have noted, in a moment, and a few of them at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

AFTER = 0.1  # s after a request that what it counts is in the metrics' log at the latest, unless many models are busy
FEW = 16  # that are called at a time
ROUNDS = 10  # of AFTER, within which each is called, however many there are


class DueCounts:
    """A line of functions that are called AFTER a moment, first come, first served.

    What a model counts costs about the same for one request as for ten. So while more than FEW models are busy, each
    has its turn less often, and counts more at a time.
    """

    __slots__ = ("_at_a_time", "_due", "_running")

    def __init__(self) -> None:
        self._due: deque[Callable[[], None]] = deque()
        self._at_a_time = FEW
        self._running = False

    def __call__(self, settle: Callable[[], None]) -> None:
        """Have `settle` called in a moment, on the running loop."""
        self._due.append(settle)
        if not self._running:
            self._running = True
            asyncio.get_running_loop().call_later(AFTER, self._call_some)

    def _call_some(self) -> None:
        due = self._due
        self._at_a_time = max(self._at_a_time, -(-len(due) // ROUNDS))
        for _ in range(min(len(due), self._at_a_time)):
            due.popleft()()
        self._running = bool(due)
        if due:
            asyncio.get_running_loop().call_later(AFTER, self._call_some)
        else:
            self._at_a_time = FEW
