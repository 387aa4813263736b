"""PayloadWriter: a queue of records and the thread that redacts and writes them, so that no request waits for a sink.

What does not fit into the queue, or what a sink does not take, is lost and counted. The thread sleeps while there is
nothing to write.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from .record import PayloadRecord

log = logging.getLogger(__name__)

MOST_BYTES: Final = 1 << 26  # of records that wait
LAST: Final = 2.0  # seconds that the last records may take when the server stops
_PAUSE: Final = 1.0  # seconds for which nothing is sent after a sink has failed
_TOLD_EVERY: Final = 60.0  # seconds between two lines of the log on a sink that takes nothing

Redact = Callable[[PayloadRecord], PayloadRecord | None]


class SinkFailed(Exception):
    """A record that a sink did not take."""


class NotRedacted(Exception):
    """A record that could not be redacted, and must not be written."""


class PayloadSink(Protocol):
    """An interface for what takes records. Both calls come from the writer's thread."""

    def write(self, record: PayloadRecord) -> None:
        """Write a record, within a time limit. Raises SinkFailed."""

    def close(self) -> None:
        """Let go of what `write` keeps open."""


class PayloadWriter:
    """The records that wait, and the thread that writes them."""

    def __init__(self, sink: PayloadSink, *, most: int = MOST_BYTES, pause: float = _PAUSE) -> None:
        self._sink = sink
        self._most = most
        self._pause = pause
        self._records: deque[tuple[PayloadRecord, Redact | None]] = deque()
        self._held = 0
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._told_at = -_TOLD_EVERY
        self.written = 0
        self.overflowed = 0
        self.unsent = 0
        self.unredacted = 0
        self._thread = threading.Thread(target=self._run, name="payload-log", daemon=True)
        self._thread.start()

    def offer(self, record: PayloadRecord, redact: Redact | None) -> None:
        """Queue a record, which `redact` changes or leaves out, in the thread. Never waits."""
        with self._lock:
            if self._held + record.weight > self._most:
                self.overflowed += 1
                return
            self._held += record.weight
        self._records.append((record, redact))
        self._awake.set()

    def close(self, seconds: float = LAST) -> None:
        """Write what is left, for at most so many seconds, and end the thread."""
        self._closing.set()
        self._awake.set()
        self._thread.join(timeout=seconds)

    def _run(self) -> None:
        while not (self._closing.is_set() and not self._records):
            self._awake.wait()
            self._awake.clear()
            while self._records:
                record, redact = self._records.popleft()
                self._write(record, redact)
                with self._lock:
                    self._held -= record.weight
        self._sink.close()

    def _write(self, record: PayloadRecord, redact: Redact | None) -> None:
        try:
            found = record if redact is None else redact(record)
            if found is not None:
                self._sink.write(found)
                self.written += 1
        except NotRedacted as error:
            self.unredacted += 1
            self._tell(f"A payload of model {record.model} was not redacted, and is not logged", error)
        except Exception as error:  # noqa: BLE001  (a sink that is broken in any way must not end the thread)
            self.unsent += 1
            self._tell("Payloads were not taken by payload_log", error)
            self._closing.wait(self._pause)

    def _tell(self, what: str, error: Exception) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TOLD_EVERY:
            self._told_at = now
            log.warning("%s: %s. torchserve_payload_records_lost_total counts", what, error)
