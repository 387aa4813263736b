"""Layouts: functions that turn a Line into its text with a newline: TorchServe's own two patterns, and JSON."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson

from .line import Line, timestamp
from .printable import indented, lines, one_line

Layout = Callable[[Line], str]

TS_PATTERN = "%d{ISO8601} [%-5p] %t %c - %m%n"  # TorchServe's for ts_log, model_log and the console
PLAIN_PATTERN = "%d{ISO8601} - %m%n"  # TorchServe's for access_log and the metrics

_LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "FATAL"}
_PADDED = {level: name.ljust(5) for level, name in _LEVELS.items()}


def level_name(level: int) -> str:
    """Return log4j's name of the nearest level that is not above `level`."""
    return _LEVELS.get(level // 10 * 10, "FATAL" if level > 50 else "TRACE")


def json_layout(line: Line) -> str:
    """Return JSON with timestamp (UTC, RFC 3339), level, thread, logger, message; request_id and trace_id if
    there are any.
    """
    milliseconds = int(line.at % 1 * 1000)
    fields = {
        "timestamp": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(line.at))}.{milliseconds:03d}Z",
        "level": level_name(line.level),
        "thread": line.thread,
        "logger": line.logger,
        "message": line.message,
    }
    if line.request_id:
        fields["request_id"] = line.request_id
    if line.trace_id:
        fields["trace_id"] = line.trace_id
    if line.trace:
        fields["exception"] = line.trace
    return orjson.dumps({name: _encodable(value) for name, value in fields.items()}).decode() + "\n"


def _plain(line: Line) -> str:
    at, _, _, _, message, _, trace, _, trace_id = line
    text = f"{timestamp(at)} - {lines(message)}{recorded(trace_id)}\n"
    return f"{text}{trace_lines(trace)}" if trace else text


def _full(line: Line) -> str:
    at, level, thread, logger, message, _, trace, _, trace_id = line
    name = _PADDED.get(level) or level_name(level).ljust(5)
    text = f"{timestamp(at)} [{name}] {one_line(thread)} {logger} - {lines(message)}{recorded(trace_id)}\n"
    return f"{text}{trace_lines(trace)}" if trace else text


def recorded(trace_id: str) -> str:
    """Return what a line of a recorded request ends with, "" for others."""
    return f" trace_id={one_line(trace_id)}" if trace_id else ""


def trace_lines(trace: str) -> str:
    """Return a traceback as indented lines, since its last ones, the exception's text, may come from anybody."""
    return f"    {indented(lines(trace))}\n"


def between(layout: Layout, level: int, thread: str, logger: str) -> str | None:
    """Return the text between timestamp and message in all lines of a logger; None if `layout` is not that simple."""
    if layout is _plain:
        return " - "
    return f" [{level_name(level):<5}] {thread} {logger} - " if layout is _full else None


# TorchServe's own two patterns as plain functions, since each request writes several such lines.
READY: dict[str, Layout] = {PLAIN_PATTERN: _plain, TS_PATTERN: _full}


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
