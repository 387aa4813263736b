"""Exporter: sends finished traces to a collector from a thread of its own, so that no request waits for one.

What it can't send in time is lost and counted: the queue is bounded, and a batch that a collector refuses, or does not
take within the attempts, is dropped. The thread sleeps until there is something to send.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from .span import Span
from .trace_notes import Nanoseconds

log = logging.getLogger(__name__)

MOST_RECORDS = 8192  # requests and batches that wait to be sent
MOST_SPANS = 512  # sent together
DELAY = 1.0  # seconds for which the first span of a batch waits for further ones
PAUSES = (1.0, 2.0, 4.0)  # seconds between the attempts to send a batch
LAST = 2.0  # seconds that the last spans may take when the server stops
_SOON = 128  # records at which the wait ends: what waits is looked at by the garbage collector again and again
_BREATH = 16  # records between two offers of the interpreter to the event loop, which must not wait for all of a batch
_TOLD_EVERY = 60.0  # seconds between two lines of the log on a collector that takes nothing


class CollectorFailed(Exception):
    """An attempt to send that failed. `again` says whether another one may do better."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class Collector(Protocol):
    """An interface for what takes spans. Both calls come from the exporter's thread."""

    def send(self, spans: Sequence[Span]) -> None:
        """Send spans, within a time limit. Raises CollectorFailed."""

    def close(self) -> None:
        """Let go of what `send` keeps open."""


class Record(Protocol):
    """An interface for the notes of which spans are made."""

    def spans(self, nanoseconds: Nanoseconds) -> list[Span]: ...


class Exporter:
    """A queue of what was recorded, and the thread that sends it. `sent` and `lost` count spans and records."""

    def __init__(
        self,
        collector: Collector,
        *,
        most: int = MOST_RECORDS,
        delay: float = DELAY,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._collector = collector
        self._most = most
        self._delay = delay
        self._pauses = pauses
        self._records: deque[Record] = deque()
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._full = threading.Event()  # records enough to be sent at once, or the end
        self._told_at = -_TOLD_EVERY
        self._clock = clock_offset()
        self.sent = 0
        self.overflowed = 0  # requests and batches for which the queue had no room
        self.unsent = 0  # spans that the collector did not take
        self._thread = threading.Thread(target=self._run, name="trace-exporter", daemon=True)
        self._thread.start()

    def offer(self, record: object) -> None:
        """Queue a Record. Never blocks; if there is no room, the record is lost."""
        if len(self._records) >= self._most:
            self.overflowed += 1
            return
        self._records.append(record)  # type: ignore[arg-type]
        if not self._awake.is_set():
            self._awake.set()
        if len(self._records) == _SOON:
            self._full.set()

    def close(self, seconds: float = LAST) -> None:
        """Send what is left, for at most so many seconds, and end the thread."""
        self._closing.set()
        self._full.set()
        self._awake.set()
        self._thread.join(timeout=seconds)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._awake.wait()
            self._full.wait(self._delay)
            self._awake.clear()
            self._full.clear()
            self._send_all()
        self._collector.close()

    def _send_all(self) -> None:
        self._clock = steadied(self._clock, clock_offset())
        while self._records:
            spans: list[Span] = []
            taken = 0
            while self._records and len(spans) < MOST_SPANS:
                try:
                    spans += self._records.popleft().spans(self._nanoseconds)
                except Exception:
                    self.overflowed += 1
                    log.exception("a trace could not be written")
                taken += 1
                if taken % _BREATH == 0:
                    time.sleep(0)
            self._send(spans)

    def _send(self, spans: Sequence[Span]) -> None:
        for pause in (*self._pauses, None):
            try:
                self._collector.send(spans)
            except CollectorFailed as error:
                last = pause is None or not error.again or self._closing.is_set()
                self._tell(error)
            except Exception as error:  # noqa: BLE001  (a collector that is broken in any way must not end the thread)
                last = True
                self._tell(error)
            else:
                self.sent += len(spans)
                return
            if last:
                self.unsent += len(spans)
                return
            self._closing.wait(pause)

    def _tell(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TOLD_EVERY:
            self._told_at = now
            log.warning("Spans were not taken by the collector: %s. torchserve_trace_records_lost_total counts", error)

    def _nanoseconds(self, at: float) -> int:
        return self._clock + int(at * 1e9)


def clock_offset(wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = time.monotonic_ns) -> int:
    """Return the ns to add to the steady clock for the time since the epoch."""
    return wall() - steady()


def steadied(before: int, now: int) -> int:
    """Return the offset to use: the one before unless the clock was set, so that spans of a trace agree."""
    return before if abs(now - before) < 10_000_000 else now
