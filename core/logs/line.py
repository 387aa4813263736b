"""Line: one event of a log before it is formatted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, Protocol

STARTED = time.time()  # when the process began to log, nearly when it was started


class Source(NamedTuple):
    """The place in the code that a line comes from, and the number of its thread."""

    file: str
    line: int
    function: str
    thread: int


class Line(NamedTuple):
    """An event of a log. `at` is seconds since the epoch, `level` logging's number; `trace` follows the line.

    `source` is None for lines of the streams and of workers. `trace_id` is there for requests that are recorded.
    """

    at: float
    level: int
    thread: str
    logger: str
    message: str
    request_id: str = ""
    trace: str = ""
    source: Source | None = None
    trace_id: str = ""


class Entry(Protocol):
    """An event of a stream whose text is made by the writer's thread."""

    @property
    def at(self) -> float: ...
    @property
    def request_id(self) -> str: ...
    @property
    def trace_id(self) -> str: ...
    def text(self) -> str: ...


class Several(Protocol):
    """An entry of many lines: `take` yields each line's `at`, text and request ids, and yields it once."""

    def take(self) -> Iterator[tuple[float, str, str]]: ...


def timestamp(seconds: float) -> str:
    """Return `2026-11-22T10:32:52,046` in local time from seconds since the epoch."""
    return _millisecond(int(seconds * 1000))


@lru_cache(maxsize=64)  # a busy server writes dozens of lines per second, each to several files
def _millisecond(number: int) -> str:
    seconds, rest = divmod(number, 1000)
    return f"{_second(seconds)},{rest:03d}"


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
