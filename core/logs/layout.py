"""Layouts: functions that turn a Line into its text with a newline, by log4j's conversion patterns or as JSON."""

from __future__ import annotations

import os
import re
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
_PIECE = re.compile(r"%%|%(?P<pad>-?\d+)?(?:\.-?\d+)?(?P<word>[A-Za-z]+)(?:\{(?P<option>[^}]*)\})?")
_WORDS = {
    "d": "d", "date": "d", "p": "p", "level": "p", "t": "t", "tn": "t", "thread": "t", "threadName": "t",
    "c": "c", "logger": "c", "m": "m", "msg": "m", "message": "m", "n": "n", "X": "X", "mdc": "X", "MDC": "X",
    "pid": "pid", "processId": "pid", "ex": "", "xEx": "", "throwable": "",
}  # fmt: skip
_REQUEST_IDS = {"request_id", "requestId", "x-request-id"}
# SimpleDateFormat's letters, longest first.
_DATES = (
    ("yyyy", "%Y"), ("yy", "%y"), ("MMMM", "%B"), ("MMM", "%b"), ("MM", "%m"), ("dd", "%d"), ("HH", "%H"), ("hh", "%I"),
    ("mm", "%M"), ("ss", "%S"), ("SSS", "\1"), ("EEE", "%a"), ("a", "%p"), ("Z", "%z"), ("'", ""),
)  # fmt: skip


def level_name(level: int) -> str:
    """Return log4j's name of the nearest level that is not above `level`."""
    return _LEVELS.get(level // 10 * 10, "FATAL" if level > 50 else "TRACE")


def json_layout(line: Line) -> str:
    """Return JSON with timestamp (UTC, RFC 3339), level, thread, logger, message, and request_id if there is one."""
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
    if line.trace:
        fields["exception"] = line.trace
    return orjson.dumps({name: _encodable(value) for name, value in fields.items()}).decode() + "\n"


def pattern_layout(pattern: str) -> Layout:
    """Return the layout of a log4j conversion pattern. Raises ValueError naming an unknown conversion."""
    ready = _READY.get(pattern)
    if ready is not None:
        return ready
    pieces: list[str | Layout] = []
    end = 0
    for found in _PIECE.finditer(pattern):
        pieces += [pattern[end : found.start()], _conversion(found)]
        end = found.end()
    pieces.append(pattern[end:])
    steps = [piece for piece in pieces if piece != ""]

    def shape(line: Line) -> str:
        text = "".join([step if isinstance(step, str) else step(line) for step in steps])
        return f"{text}{_trace(line.trace)}" if line.trace else text

    return shape


def _plain(line: Line) -> str:
    at, _, _, _, message, _, trace = line
    text = f"{timestamp(at)} - {lines(message)}\n"
    return f"{text}{_trace(trace)}" if trace else text


def _full(line: Line) -> str:
    at, level, thread, logger, message, _, trace = line
    name = _PADDED.get(level) or level_name(level).ljust(5)
    text = f"{timestamp(at)} [{name}] {one_line(thread)} {logger} - {lines(message)}\n"
    return f"{text}{_trace(trace)}" if trace else text


def _trace(trace: str) -> str:
    """Return a traceback as indented lines, since its last ones, the exception's text, may come from anybody."""
    return f"    {indented(lines(trace))}\n"


def between(layout: Layout, level: int, thread: str, logger: str) -> str | None:
    """Return the text between timestamp and message in all lines of a logger; None if `layout` is not that simple."""
    if layout is _plain:
        return " - "
    return f" [{level_name(level):<5}] {thread} {logger} - " if layout is _full else None


# TorchServe's own two patterns as plain functions, since each request writes several such lines.
_READY: dict[str, Layout] = {PLAIN_PATTERN: _plain, TS_PATTERN: _full}


def date_format(java: str) -> str:
    r"""Return strftime's format for a SimpleDateFormat pattern; `\1` stands for milliseconds. Raises ValueError."""
    rest, format_ = java, ""
    while rest:
        known = next(((word, code) for word, code in _DATES if rest.startswith(word)), None)
        if known is None:
            if rest[0].isalpha() and rest[0] != "T":
                raise ValueError(f"the date pattern {java!r} has {rest[0]!r}, which is not known here")
            known = (rest[0], rest[0].replace("%", "%%"))
        rest, format_ = rest[len(known[0]) :], format_ + known[1]
    return format_


def _conversion(found: re.Match[str]) -> str | Layout:
    if found[0] == "%%":
        return "%"
    word = _WORDS.get(found["word"])
    if word is None:
        raise ValueError(f"the conversion {found[0]!r} is not known here")
    piece = _piece(word, found["option"])
    pad = int(found["pad"] or 0)
    if not pad or isinstance(piece, str):
        return piece
    return (lambda line: piece(line).ljust(-pad)) if pad < 0 else (lambda line: piece(line).rjust(pad))


def _piece(word: str, option: str | None) -> str | Layout:
    fixed = {"n": "\n", "pid": str(os.getpid()), "": ""}
    if word in fixed:
        return fixed[word]
    if word == "d":
        return _date(option or "ISO8601")
    if word == "X" and option not in _REQUEST_IDS:
        return ""  # in log4j, too, a context without a value is empty
    return {
        "p": lambda line: level_name(line.level),
        "t": lambda line: one_line(line.thread),
        "c": lambda line: line.logger,
        "m": lambda line: lines(line.message),
        "X": lambda line: one_line(line.request_id),
    }[word]


def _date(option: str) -> Layout:
    if option in {"ISO8601", "DEFAULT", "ABSOLUTE"}:
        start = {"ISO8601": 0, "DEFAULT": 0, "ABSOLUTE": 11}[option]
        separator = " " if option == "DEFAULT" else "T"
        return lambda line: timestamp(line.at).replace("T", separator)[start:]
    format_ = date_format(option)
    return lambda line: time.strftime(format_, time.localtime(line.at)).replace("\1", f"{int(line.at % 1 * 1000):03d}")


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
