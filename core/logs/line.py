"""Line, one event of a log before it has a shape."""

from __future__ import annotations

import time
from typing import NamedTuple, Protocol


class Line(NamedTuple):
    """`at` is seconds since the epoch, `level` logging's number; `trace` follows the line as it is."""

    at: float
    level: int
    thread: str
    logger: str
    message: str
    request_id: str = ""
    trace: str = ""


class Entry(Protocol):
    """What a stream takes besides Lines: something whose text is made by the thread that writes."""

    @property
    def at(self) -> float: ...
    @property
    def request_id(self) -> str: ...
    def text(self) -> str: ...


def timestamp(seconds: float) -> str:
    """`2026-11-22T10:32:52,046`, in local time, from seconds since the epoch."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.localtime(seconds))},{int(seconds % 1 * 1000):03d}"
