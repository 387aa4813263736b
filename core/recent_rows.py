"""RecentRows: the rows that a dashboard was told in the last seconds, to see what has happened since."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable
from typing import Any, Final

WINDOW: Final = 10.0  # seconds that rates and quantiles cover


class RecentRows:
    """A memory of rows: of each thing those of the last WINDOW seconds in which it moved, and the one before."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._past: dict[Hashable, deque[tuple[float, dict[str, Any]]]] = {}

    def still(self, key: Hashable) -> bool:
        """Return whether nothing has moved in the last seconds that were looked at."""
        return len(self._past.get(key, ())) == 1

    def before(self, key: Hashable, row: dict[str, Any], *, moved: bool) -> tuple[dict[str, Any], float]:
        """Keep a row, if it has `moved`. Return the one of WINDOW seconds ago, or the first, and the seconds since."""
        now = self._clock()
        past = self._past.setdefault(key, deque())
        if moved:
            past.append((now, row))
        while len(past) > 1 and past[1][0] <= now - WINDOW:
            past.popleft()
        at, first = past[0]
        return first, max(1.0, now - max(at, now - WINDOW))

    def keep(self, keys: Collection[Hashable]) -> None:
        """Forget all but these."""
        self._past = {key: past for key, past in self._past.items() if key in keys}
