"""LogWriter: takes lines from the event loop and writes them from its own thread: no request waits on a disk."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from .files import LogFile, destination
from .layout import Layout
from .line import Entry, Line, Several
from .plan import ACCESS, ROOT, Plan, Sink

BACKLOG = 100_000  # entries kept for a disk that does not keep up; what comes on top is dropped and counted
# Seconds from the first line of a round until it is written. A quiet log is written at once, so that whoever had an
# answer finds its lines; a busy one in rounds, short ones, so that formatting never holds the interpreter for long.
QUIET, BUSY = 0.001, 0.02
PACE = 0.0005  # seconds more for each entry of the round before: above 2,000 entries/s rounds grow from QUIET to BUSY


class LogWriter:
    """`put` never blocks; an entry becomes text in the writer's thread."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._destinations = {sink: destination(sink) for sink in plan.sinks()}
        self._muted = {name for name, route in plan.routes.items() if route.level > logging.INFO or not route.sinks}
        self._entries: deque[tuple[str, Line | Entry | Several]] = deque()
        self._awake = threading.Event()
        self._ended = False
        self.dropped = 0
        self._told = 0  # how many of those the log itself has been told of
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, logger: str, entry: Line | Entry | Several) -> bool:
        """Add a line of a logger or an entry of a stream; False if there is no room for it."""
        if len(self._entries) >= BACKLOG:
            self.dropped += 1
            return False
        self._entries.append((logger, entry))
        if not self._awake.is_set():
            self._awake.set()
        return True

    def stream(self, name: str, entry: Entry | Several) -> bool:
        """Add an entry of ACCESS_LOG, TS_METRICS or MODEL_METRICS, unless the plan wants none of its lines."""
        return name in self._muted or self.put(name, entry)

    def access(self, entry: Entry) -> None:
        self.stream(ACCESS, entry)

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._ended = True
        self._awake.set()
        self._thread.join(timeout=5)
        for file in self._destinations.values():
            file.close()

    def _run(self) -> None:
        for file in self._destinations.values():
            if isinstance(file, LogFile):
                file.create()
        entries = 0
        while not self._ended:
            self._awake.wait()
            if not self._ended:
                time.sleep(min(BUSY, max(QUIET, entries * PACE)))
            self._awake.clear()
            entries = self._drain()
        self._drain()

    def _drain(self) -> int:
        """Write what there is; how many entries that was."""
        entries = 0
        gathered: dict[Sink, list[str]] = {}
        into: dict[str, list[tuple[Layout, list[str]]]] = {}
        while self._entries:
            name, entry = self._entries.popleft()
            entries += 1
            try:
                shapes = into.get(name)
                if shapes is None:
                    sinks = self._plan.route(name).sinks
                    shapes = into[name] = [(sink.layout, gathered.setdefault(sink, [])) for sink in sinks]
                for line in _lines(name, entry):
                    for layout, texts in shapes:
                        texts.append(layout(line))
            except Exception:  # noqa: BLE001  (a line that has no text must not end the thread)
                self.dropped += 1
        now = time.time()
        if self.dropped > self._told:
            self._tell_of_dropped(gathered, now)
        for sink, texts in gathered.items():
            self._destinations[sink].write("".join(texts), len(texts), now)
        return entries

    def _tell_of_dropped(self, gathered: dict[Sink, list[str]], now: float) -> None:
        missing, self._told = self.dropped - self._told, self.dropped
        line = Line(now, logging.WARNING, "log-writer", __name__, f"{missing} lines of the logs are missing here")
        for sink in self._plan.route(ROOT).sinks:
            gathered.setdefault(sink, []).append(sink.layout(line))


def _lines(name: str, entry: Line | Entry | Several) -> Iterable[Line]:
    if isinstance(entry, Line):
        return (entry,)
    take: Callable[[], Iterator[tuple[float, str, str]]] | None = getattr(entry, "take", None)
    if take is None:
        one = cast("Entry", entry)
        return (Line(one.at, logging.INFO, "main", name, one.text(), one.request_id),)
    return (Line(at, logging.INFO, "main", name, text, request_id) for at, text, request_id in take())
