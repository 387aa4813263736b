"""SampledStacks: what all threads of a process do, by a look at their stacks every few milliseconds.

It needs no help of the handler, slows it little, and ends up as a picture in which a call is as long as it was seen.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

EVERY: Final = 0.005  # seconds between two looks
MOST_EVENTS: Final = 200_000
_DEEP: Final = 100  # calls of a stack that are kept, the outermost ones
_THREADS: Final = 64


class SampledStacks:
    """A recording of all threads, by a thread of its own that begins at once."""

    kind = "stacks, sampled every 5 ms, as this handler doesn't use torch"

    def __init__(self) -> None:
        self._over = threading.Event()
        self._calls = _Calls()
        self._thread = threading.Thread(target=self._run, name="profile", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the recording."""
        self._over.set()
        self._thread.join()

    def write(self, path: Path) -> None:
        """Write Chrome's trace."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        with path.open("w") as file:
            json.dump({"traceEvents": [*self._calls.events(names)], "displayTimeUnit": "ms"}, file)

    def _run(self) -> None:
        own = threading.get_ident()
        while not self._over.wait(EVERY) and not self._calls.full:
            frames = sys._current_frames()  # noqa: SLF001  (what Python has for it)
            now = time.perf_counter_ns()
            frames.pop(own, None)
            self._calls.seen(now, frames)
            del frames
        self._calls.seen(time.perf_counter_ns(), {})


class _Calls:
    """The calls that were seen, of each thread: those that go on, from the outermost on, and those that have ended."""

    def __init__(self) -> None:
        self._going_on: dict[int, list[tuple[CodeType, int]]] = {}
        self._ended: list[tuple[int, CodeType, int, int]] = []  # thread, what, begin, ns

    @property
    def full(self) -> bool:
        return len(self._ended) >= MOST_EVENTS

    def seen(self, now: int, frames: dict[int, FrameType]) -> None:
        """Compare the stacks with those that were seen before."""
        for thread in [each for each in self._going_on if each not in frames]:
            self._end(thread, 0, now)
            del self._going_on[thread]
        for thread, frame in list(frames.items())[:_THREADS]:
            codes = _codes(frame)
            before = self._going_on.setdefault(thread, [])
            same = 0
            while same < min(len(codes), len(before)) and codes[same] is before[same][0]:
                same += 1
            self._end(thread, same, now)
            before += [(code, now) for code in codes[same:]]

    def _end(self, thread: int, depth: int, now: int) -> None:
        going_on = self._going_on[thread]
        self._ended += [(thread, code, begin, now - begin) for code, begin in going_on[depth:]]
        del going_on[depth:]

    def events(self, names: dict[int | None, str]) -> Iterable[dict[str, Any]]:
        """Yield the events of Chrome's trace, whose times are in microseconds."""
        for thread in {thread for thread, *_ in self._ended}:
            name = {"name": names.get(thread, f"thread {thread}")}
            yield {"ph": "M", "name": "thread_name", "pid": 1, "tid": thread, "args": name}
        for thread, code, begin, took in self._ended:
            where = {"file": code.co_filename, "line": code.co_firstlineno}
            yield {
                "ph": "X", "cat": "python", "name": code.co_qualname, "pid": 1, "tid": thread, "ts": begin / 1e3,
                "dur": took / 1e3, "args": where,
            }  # fmt: skip


def _codes(frame: FrameType | None) -> list[CodeType]:
    """Return what the frames of a stack run, the outermost first."""
    codes: list[CodeType] = []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    return codes[::-1][:_DEEP]
