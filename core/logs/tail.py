"""LogTail: the latest lines of the log, for those who look at the server through its pages."""

from __future__ import annotations

import logging
import threading
from collections import deque
from itertools import islice
from typing import Any

from .line import Line
from .printable import lines

KEPT = 300  # lines
LONGEST = 1000  # characters of a line that are kept, and as many of its traceback


class LogTail:
    """The last KEPT lines of the log, each with a number that grows by one. Any thread may call it."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=KEPT)
        self._count = 0
        self._lock = threading.Lock()

    def add(self, line: Line) -> None:
        """Keep the beginning of a line."""
        short = line._replace(message=line.message[:LONGEST], trace=line.trace[-LONGEST:])
        with self._lock:
            self._lines.append(short)
            self._count += 1

    def since(self, number: int) -> tuple[int, list[dict[str, Any]]]:
        """Return the number of the latest line, and those lines behind `number` that are still kept."""
        with self._lock:
            count = self._count
            first = len(self._lines) - min(count - number, len(self._lines))
            kept = list(islice(self._lines, max(0, first), None))
        return count, [_shown(line) for line in kept]


def _shown(line: Line) -> dict[str, Any]:
    shown = {
        "at": round(line.at, 3),
        "level": logging.getLevelName(line.level),
        "thread": line.thread,
        "message": lines(line.message),
    }
    return shown | ({"trace": lines(line.trace)} if line.trace else {})
