"""LogWriter: takes lines from the event loop and writes them in its own thread, so that no request waits for a disk."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, cast

from .files import LogFile, destination
from .layout import between, recorded
from .line import Entry, Line, Several, timestamp
from .losses import Losses
from .pace import Pace
from .plan import ACCESS, ROOT, Appender, LogPlan
from .printable import one_line
from .tail import LogTail

BACKLOG = 100_000  # entries kept for a disk that does not keep up; further ones are dropped and counted


_THREAD = "main"  # the thread's name in the lines of streams


class LogWriter:
    """A writer of logs with a thread of its own, which formats the entries. `put` never blocks."""

    def __init__(self, plan: LogPlan) -> None:
        self._plan = plan
        self._destinations = {appender: destination(appender) for appender in plan.appenders()}
        voices = [self._destinations[appender.output] for appender in plan.route(ROOT).appenders]
        self._losses = Losses(self._destinations.values(), voices)
        self._muted = {name for name, route in plan.routes.items() if route.level > logging.INFO or not route.appenders}
        self._mutes_access = ACCESS in self._muted
        self._entries: deque[Any] = deque()  # (logger, Line | Entry | Several), or an Entry alone, of ACCESS_LOG
        self._awake = threading.Event()
        self._woken = False  # whether the thread will look again: asking the event itself takes a call of Python's
        self._ended = False
        self._reopening = False
        self.tail = LogTail()
        self.dropped = 0
        self._told = 0  # dropped entries that the log has reported
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """The number of lines that a file or the console could not take. May be read from any thread."""
        return self._losses.lost

    def put(self, logger: str, entry: Line | Entry | Several) -> bool:
        """Add a line of a logger or an entry of a stream. Return False if there is no room for it."""
        if len(self._entries) >= BACKLOG:
            self.dropped += 1
            return False
        self._entries.append((logger, entry))
        if not self._woken:
            self._woken = True
            self._awake.set()
        return True

    def stream(self, name: str, entry: Entry | Several) -> bool:
        """Add an entry of ACCESS_LOG, TS_METRICS or MODEL_METRICS, unless the plan routes its lines nowhere.

        Return False if there is no room for it.
        """
        return name in self._muted or self.put(name, entry)

    def access(self, entry: Entry) -> None:
        """Add an entry of ACCESS_LOG, as `stream` does but with fewer calls, since every request has one."""
        if self._mutes_access:
            return
        if len(self._entries) >= BACKLOG:
            self.dropped += 1
            return
        self._entries.append(entry)
        if not self._woken:
            self._woken = True
            self._awake.set()

    def reopen(self) -> None:
        """Open all files anew, after the lines that have come so far; those that were moved away are created again."""
        self._reopening = True
        self._awake.set()

    def close(self) -> None:
        """Write the remaining entries and end the thread."""
        self._ended = True
        self._awake.set()
        self._thread.join(timeout=5)
        for file in self._destinations.values():
            file.close()

    def _reopen(self) -> None:
        for file in self._destinations.values():
            if isinstance(file, LogFile):
                file.create()

    def _run(self) -> None:
        self._reopen()
        pace = Pace()
        while not self._ended:
            self._awake.wait()
            pause = pace.pause(time.monotonic())
            if pause and not self._ended:
                time.sleep(pause)
            self._awake.clear()
            self._woken = False  # after the event: what sets both from here on wakes the thread again
            reopening, self._reopening = self._reopening, False
            pace.wrote(self._drain())
            if reopening:
                self._reopen()
        self._drain()
        self._drain()  # reports on the lines of the last round

    def _drain(self) -> int:
        """Write the entries that there are. Return their number."""
        entries = 0
        gathered: dict[Appender, list[str]] = {}
        access = Pages(ACCESS, self._plan, gathered)
        into = {ACCESS: access}
        while self._entries:
            item = self._entries.popleft()
            entries += 1
            try:
                if type(item) is tuple:
                    name, entry = item
                    pages = into.get(name)
                    if pages is None:
                        pages = into[name] = Pages(name, self._plan, gathered)
                    pages.add(entry)
                else:
                    access.entry(item)
            except Exception:  # noqa: BLE001  (a line that has no text must not end the thread)
                self.dropped += 1
        now = time.time()
        if self.dropped > self._told:
            self._tell_of_dropped(gathered, now)
        for level, text in self._losses.news():
            self._say(gathered, now, level, text)
        for appender, texts in gathered.items():
            if texts:
                self._destinations[appender].write(texts, now)
        if self._losses.waiting:
            self._awake.set()
        return entries

    def _tell_of_dropped(self, gathered: dict[Appender, list[str]], now: float) -> None:
        missing, self._told = self.dropped - self._told, self.dropped
        self._say(gathered, now, logging.WARNING, f"{missing} lines of the logs are missing here")

    def _say(self, gathered: dict[Appender, list[str]], now: float, level: int, text: str) -> None:
        line = Line(now, level, "log-writer", __name__, text)
        for appender in self._plan.route(ROOT).appenders:
            if appender.accepts is None or appender.accepts(line):
                gathered.setdefault(appender.output, []).append(appender.layout(line))


class Pages:
    """The texts of one logger or stream in a round: a page for each of its appenders."""

    def __init__(self, name: str, plan: LogPlan, gathered: dict[Appender, list[str]]) -> None:
        self._name = name
        self._pages = [
            (appender.layout, gathered.setdefault(appender.output, []), appender.accepts)
            for appender in plan.route(name).appenders
        ]
        simple = [
            (between(layout, logging.INFO, _THREAD, name) if accepts is None else None, page.append)
            for layout, page, accepts in self._pages
        ]
        self._simple = [(middle, add) for middle, add in simple if middle is not None]
        self._all_simple = len(self._simple) == len(self._pages)

    def add(self, entry: Line | Entry | Several) -> None:
        if isinstance(entry, Line):
            self._line(entry)
        elif hasattr(entry, "text"):
            self.entry(cast("Entry", entry))
        else:
            for at, text, request_id in cast("Several", entry).take():
                self._text(at, text, request_id)

    def entry(self, entry: Entry) -> None:
        """Add an entry, as `add` does but with fewer calls, since every request has one."""
        self._text(entry.at, entry.text(), entry.request_id, entry.trace_id)

    def _line(self, line: Line) -> None:
        for layout, page, accepts in self._pages:
            if accepts is None or accepts(line):
                page.append(layout(line))

    def _text(self, at: float, text: str, request_id: str, trace_id: str = "") -> None:
        text = one_line(text)
        if self._all_simple:
            text = f"{text}{recorded(trace_id)}" if trace_id else text
            stamp = timestamp(at)
            for middle, add in self._simple:
                add(f"{stamp}{middle}{text}\n")
        else:
            self._line(Line(at, logging.INFO, _THREAD, self._name, text, request_id, trace_id=trace_id))
