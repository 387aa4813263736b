"""The log streams: ts_log, model_log, access_log. One thread writes them all, so that no request waits on a disk.

Lines look as TorchServe's do: `2026-11-22T10:32:52,046 [INFO ] W-9000-echo_1.0-stdout MODEL_LOG - text`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Protocol, TextIO

BACKLOG = 100_000  # entries kept for a disk that does not keep up; what comes on top is dropped and counted
ROTATE_AT = 100 * 1024 * 1024  # bytes
KEEP = 5  # rotated files
GATHER = (
    0.02  # seconds between two rounds of the writer: short, so that formatting never holds the interpreter for long
)

_MODEL_LOGGER = "MODEL_LOG"
_LEVEL_NAMES = {"WARNING": "WARN", "CRITICAL": "FATAL"}


class LogStream:
    """One log file (and the console, if asked), rotated by size. Only the writer's thread calls `write`."""

    def __init__(self, path: Path, console: TextIO | None) -> None:
        self._path = path
        self._console = console
        self._file: TextIO | None = None
        self._size = 0
        self.lost = 0

    def write(self, text: str, lines: int) -> None:
        if self._console is not None:
            with contextlib.suppress(OSError, ValueError):
                self._console.write(text)
                self._console.flush()
        try:
            file = self._file or self._open()
            file.write(text)
            file.flush()
        except OSError:
            self.lost += lines  # a full or read-only disk costs log lines, never a request
            return
        self._size += len(text)
        if self._size > ROTATE_AT:
            with contextlib.suppress(OSError):
                self._rotate()

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _open(self) -> TextIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8", errors="replace")
        self._size = self._file.tell()
        return self._file

    def _rotate(self) -> None:
        self.close()
        for number in range(KEEP - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))


class Entry(Protocol):
    """What a stream takes: its text is made by the thread that writes."""

    @property
    def at(self) -> float: ...
    def text(self) -> str: ...


class _Dated:
    __slots__ = ("_entry",)

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def __str__(self) -> str:
        return f"{timestamp(self._entry.at)} - {self._entry.text()}"


class LogWriter:
    """Takes entries from the event loop and writes them from its own thread; an entry is turned to text there."""

    def __init__(self, folder: Path, *, console: TextIO | None) -> None:
        self._streams = {
            name: LogStream(folder / f"{name}.log", console) for name in ("ts_log", "model_log", "access_log")
        }
        for name in ("TS_METRICS", "MODEL_METRICS"):
            self._streams[name] = LogStream(metrics_folder() / f"{name.lower()}.log", console)
        self._entries: deque[tuple[str, object]] = deque()
        self._awake = threading.Event()
        self._ended = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, stream: str, entry: object) -> None:
        """Add an entry; `str(entry)` is its line. Never blocks."""
        if len(self._entries) >= BACKLOG:
            self.dropped += 1
            return
        self._entries.append((stream, entry))
        if not self._awake.is_set():
            self._awake.set()

    def stream(self, name: str, entry: Entry) -> None:
        """Add an entry of TS_METRICS or MODEL_METRICS."""
        self.put(name, _Dated(entry))

    def access(self, entry: object) -> None:
        self.put("access_log", entry)

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._ended = True
        self._awake.set()
        self._thread.join(timeout=5)
        for stream in self._streams.values():
            stream.close()

    def _run(self) -> None:
        while not self._ended:
            self._awake.wait()
            if not self._ended:
                time.sleep(GATHER)
            self._awake.clear()
            self._drain()
        self._drain()

    def _drain(self) -> None:
        gathered: dict[str, list[str]] = {}
        while self._entries:
            stream, entry = self._entries.popleft()
            gathered.setdefault(stream, []).append(str(entry))
        for stream, lines in gathered.items():
            self._streams[stream].write("\n".join(lines) + "\n", len(lines))


class _ToWriter(logging.Handler):
    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        stream = "model_log" if record.name == _MODEL_LOGGER else "ts_log"
        try:
            self._writer.put(stream, self.format(record))
        except Exception:  # noqa: BLE001  (a message that can't be formatted must not reach who logged it)
            self.handleError(record)


class _Pattern(logging.Formatter):
    """TorchServe's pattern: ISO time, level padded to five, thread, logger, text."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name for it)
        level = _LEVEL_NAMES.get(record.levelname, record.levelname)
        thread = getattr(record, "worker", "main" if record.threadName == "MainThread" else record.threadName)
        return f"{timestamp(record.created)} [{level:<5}] {thread} {record.name} - {record.message}"


def timestamp(seconds: float) -> str:
    """`2026-11-22T10:32:52,046`, in local time, from seconds since the epoch."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.localtime(seconds))},{int(seconds % 1 * 1000):03d}"


def log_folder() -> Path:
    """Where the logs go: $LOG_LOCATION, or ./logs."""
    return Path(os.environ.get("LOG_LOCATION") or "logs").absolute()


def metrics_folder() -> Path:
    """Where ts_metrics.log and model_metrics.log go: $METRICS_LOCATION, or ./logs, whatever $LOG_LOCATION says."""
    return Path(os.environ.get("METRICS_LOCATION") or "logs").absolute()


def open_logs(folder: Path, *, console: bool) -> LogWriter:
    """Send everything that is logged to the files in `folder`, and to stdout as well if `console`."""
    writer = LogWriter(folder, console=sys.stdout if console else None)
    handler = _ToWriter(writer)
    handler.setFormatter(_Pattern())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    return writer


def log_worker_line(worker: str, stream: str, line: str) -> None:
    """One line that a worker printed: stdout as INFO, stderr as WARN, under the worker's name."""
    level = logging.INFO if stream == "stdout" else logging.WARNING
    logging.getLogger(_MODEL_LOGGER).log(level, "%s", line, extra={"worker": f"{worker}-{stream}"})
