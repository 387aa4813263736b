"""open_logs(): sends Python's logging, and the lines that workers print, to a LogWriter."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ..trusted_file import NotTrusted, open_appending
from .line import Line, Source
from .plan import ACCESS, MODEL, MODEL_METRICS, ROOT, TS_METRICS, LogPlan
from .printable import indented
from .writer import LogWriter

log = logging.getLogger(__name__)

_STREAMS = frozenset({ACCESS, TS_METRICS, MODEL_METRICS})  # not Python loggers: their entries go to the writer directly


class _ToWriter(logging.Handler):
    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer
        self._tail = writer.tail
        self._tracebacks = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._line(record)
            self._tail.add(line)
            self._writer.put(record.name, line)
        except Exception:  # noqa: BLE001  (a message that can't be formatted must not reach who logged it)
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> Line:
        thread = "main" if record.threadName == "MainThread" else str(record.threadName)
        return Line(
            at=record.created,
            level=record.levelno,
            thread=getattr(record, "worker", thread),
            logger=record.name,
            message=_message(record),
            request_id=getattr(record, "request_id", ""),
            trace=self._tracebacks.formatException(record.exc_info) if record.exc_info else "",
            source=_source(record),
            trace_id=getattr(record, "trace_id", ""),
        )


def _source(record: logging.LogRecord) -> Source | None:
    if hasattr(record, "worker"):  # what a worker prints has its place in the handler's code
        return None
    return Source(record.filename, record.lineno, record.funcName or "", record.thread or 0)


def _message(record: logging.LogRecord) -> str:
    """Return the record's message. If its arguments have added line breaks, indent the lines after the first."""
    text = record.getMessage()
    return text if text.count("\n") == str(record.msg).count("\n") else indented(text)


def open_logs(plan: LogPlan) -> LogWriter:
    """Send everything that is logged where `plan` says. Return the writer, which must be closed."""
    writer = LogWriter(plan)
    logging.basicConfig(level=plan.routes[ROOT].level, handlers=[_ToWriter(writer)], force=True)
    for name, route in plan.routes.items():
        if name not in _STREAMS and name != ROOT:
            logging.getLogger(name).setLevel(route.level)
    logging.captureWarnings(True)
    for path in dict.fromkeys(appender.path for appender in plan.appenders() if appender.path is not None):
        _say_if_refused(path)
    return writer


def _say_if_refused(path: Path) -> None:
    """Log a warning if `path` can't be trusted; the writer's thread only counts the lines it loses."""
    try:
        os.close(open_appending(path))
    except NotTrusted as error:
        log.warning("Nothing is logged to %s: %s: %s", path, error.filename, error.strerror)
    except OSError:
        pass  # the writer has not made the folder yet, or will report the disk's failure


def log_worker_line(worker: str, stream: str, line: str, request_id: str, trace_id: str = "") -> None:
    """Log a line that a worker printed: stdout as INFO, stderr as WARN, under the worker's name."""
    level = logging.INFO if stream == "stdout" else logging.WARNING
    extra = {"worker": f"{worker}-{stream}", "request_id": request_id, "trace_id": trace_id}
    logging.getLogger(MODEL).log(level, "%s", line, extra=extra)
