"""The conversions of log4j's patterns: each makes a step of a layout from its options in braces and its word."""

from __future__ import annotations

import itertools
import os
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from .ansi import COLOURS, level_styles, style_codes, styled
from .dates import Warn, date_text
from .encodings import ENCODINGS
from .layout import Layout, level_name, trace_lines
from .line import STARTED, Line, timestamp
from .printable import lines, one_line

Step: TypeAlias = "str | Layout"

_IDS: dict[str, Callable[[Line], str]] = {
    **dict.fromkeys(("request_id", "requestId", "x-request-id"), lambda line: line.request_id),
    **dict.fromkeys(("trace_id", "traceId"), lambda line: line.trace_id),
}
_NONE = frozenset({"none", "0"})


class Reading(Protocol):
    """The reading of a pattern, which also reads the patterns in the options of its conversions."""

    ansi: bool
    has_trace: bool

    @property
    def warn(self) -> Warn: ...
    def steps(self, pattern: str) -> list[Step]: ...
    def layout(self, pattern: str) -> Layout: ...


def joined(steps: Sequence[Step]) -> Layout:
    """Return the layout that shows one step after the other."""

    def shape(line: Line) -> str:
        return "".join([step if isinstance(step, str) else step(line) for step in steps])

    return shape


def _first(options: Sequence[str], default: str = "") -> str:
    return (options[0] if options else "") or default


def _date(reading: Reading, options: Sequence[str], _: str) -> Step:
    if _first(options) == "ISO8601" and len(options) == 1:
        return lambda line: timestamp(line.at)
    show = date_text(options, reading.warn)
    return lambda line: show(line.at)


def _level(_reading: Reading, options: Sequence[str], _: str) -> Step:
    names: dict[str, str] = {}
    length, lower = 0, False
    for each in ",".join(options).split(","):
        key, _, value = (part.strip() for part in each.partition("="))
        if key == "length" and value.isdigit():
            length = int(value)
        elif key == "lowerCase":
            lower = value.lower() == "true"
        elif key:
            names[key.upper()] = value

    def show(line: Line) -> str:
        name = level_name(line.level)
        shown = names.get(name, name[:length] if length else name)
        return shown.lower() if lower else shown

    return show


def _logger(_reading: Reading, options: Sequence[str], _: str) -> Step:
    shorten = shortened(_first(options))
    return lambda line: shorten(line.logger)


def shortened(precision: str) -> Callable[[str], str]:
    """Return what shortens a logger's name by `2` (its last two parts), `-1` (without its first), or `1.`, `1.2.*`."""
    if not precision:
        return str
    if re.fullmatch(r"-?\d+", precision):
        count = int(precision)
        if count > 0:
            return lambda name: ".".join(name.split(".")[-count:])
        return lambda name: ".".join(name.split(".")[-count:] or [name]) if name.count(".") >= -count else name
    rules = precision.split(".")

    def part(text: str, rule: str) -> str:
        found = re.match(r"\d*", rule)
        assert found is not None
        if rule == "*":
            return text
        return text[: int(found[0])] + (rule[found.end() :] if len(text) > int(found[0]) else "") if found[0] else rule

    def shorten(name: str) -> str:
        *parts, last = name.split(".")
        used = rules[:-1] if rules[-1] == "" and len(rules) > 1 else rules
        shown = [part(text, used[min(number, len(used) - 1)]) for number, text in enumerate(parts)]
        return ".".join([*shown, last])

    return shorten


def _context(_reading: Reading, options: Sequence[str], _: str) -> Step:
    if not options:
        return lambda line: _pairs(line, {"request_id": _IDS["request_id"], "trace_id": _IDS["trace_id"]})
    known = {name: _IDS[name] for each in options[0].split(",") if (name := each.strip()) in _IDS}
    if "," in options[0]:
        return lambda line: _pairs(line, known)
    # In log4j, too, what has no value is empty.
    return next((lambda line, of=of: one_line(of(line)) for of in known.values()), "")


def _pairs(line: Line, wanted: Mapping[str, Callable[[Line], str]]) -> str:
    found = [f"{name}={one_line(of(line))}" for name, of in wanted.items() if of(line)]
    return f"{{{', '.join(found)}}}"


def _trace(reading: Reading, options: Sequence[str], _: str) -> Step:
    reading.has_trace = True
    kind = _first(options, "full")
    if kind in _NONE:
        return ""
    if kind == "short" or kind.startswith("short."):
        return lambda line: one_line(line.trace.strip().rpartition("\n")[2])
    most = int(kind) if kind.isdigit() else None

    def show(line: Line) -> str:
        return trace_lines("\n".join(line.trace.split("\n")[:most])) if line.trace else ""

    return show


def _encode(reading: Reading, options: Sequence[str], _: str) -> Step:
    inner = reading.layout(_first(options))
    name = (options[1] if len(options) > 1 else "HTML").upper()
    encode = ENCODINGS.get(name)
    if encode is None:
        reading.warn(f"the encoding {name!r} is not known here; HTML is used")
        encode = ENCODINGS["HTML"]
    return lambda line: encode(inner(line))


def _style(reading: Reading, options: Sequence[str], word: str) -> Step:
    inner = reading.layout(_first(options))
    codes = style_codes(word if word in COLOURS else ",".join(options[1:]), reading.warn)
    return (lambda line: styled(inner(line), codes)) if reading.ansi else inner


def _highlight(reading: Reading, options: Sequence[str], _: str) -> Step:
    inner = reading.layout(_first(options))
    styles = level_styles(options[1:], reading.warn)
    return (lambda line: styled(inner(line), styles[level_name(line.level)])) if reading.ansi else inner


def _replace(reading: Reading, options: Sequence[str], word: str) -> Step:
    inner = reading.layout(_first(options))
    if len(options) < 3:
        reading.warn(f"%{word} needs a pattern, what it looks for and what it puts there; it is left out")
        return inner
    replace = replacing(options[1], options[2], reading.warn)
    return lambda line: replace(inner(line))


def replacing(regex: str, by: str, warn: Warn) -> Callable[[str], str]:
    """Return what replaces a regular expression of Java's by a text with `$1`, or nothing if it can't be read."""
    try:
        compiled, template = re.compile(regex), re.sub(r"\\?\$(\d)", r"\\g<\1>", by.replace("\\", "\\\\"))
        compiled.sub(template, "")
    except (re.error, IndexError) as error:
        warn(f"the replacement of {regex!r} is not known here: {error}")
        return str
    return lambda text: compiled.sub(template, text)


def _equals(reading: Reading, options: Sequence[str], word: str) -> Step:
    if len(options) < 3:
        return _replace(reading, options, word)
    inner, wanted, by = reading.layout(options[0]), options[1], reading.layout(options[2])
    fold: Callable[[str], str] = str.casefold if word == "equalsIgnoreCase" else str
    return lambda line: by(line) if fold(inner(line)) == fold(wanted) else inner(line)


def _max_length(reading: Reading, options: Sequence[str], word: str) -> Step:
    inner = reading.layout(_first(options))
    if len(options) < 2 or not options[1].isdigit():
        reading.warn(f"%{word} needs a pattern and a number; it is left out")
        return inner
    most = int(options[1])

    def show(line: Line) -> str:
        text = inner(line)
        return text if len(text) <= most else text[:most] + ("..." if most > 20 else "")

    return show


def _not_empty(reading: Reading, options: Sequence[str], _: str) -> Step:
    steps = reading.steps(_first(options))
    variable = [step for step in steps if not isinstance(step, str)]
    shape = joined(steps)
    return lambda line: shape(line) if any(step(line) for step in variable) else ""


def _repeat(reading: Reading, options: Sequence[str], word: str) -> Step:
    if len(options) < 2 or not options[1].strip().isdigit():
        reading.warn(f"%{word} needs a text and a number; it is left out")
        return ""
    return (options[0] * int(options[1]))[:1000]


def _source(_reading: Reading, _options: Sequence[str], word: str) -> Step:
    name = _SOURCES.get(word, word)

    def show(line: Line) -> str:
        source = line.source
        if source is None:
            return "?" if name == "class" else ""
        return {
            "class": line.logger, "file": source.file, "line": str(source.line), "method": source.function,
            "location": f"{line.logger}.{source.function}({source.file}:{source.line})", "tid": str(source.thread),
        }[name]  # fmt: skip

    return show


def _number(_reading: Reading, _options: Sequence[str], _: str) -> Step:
    numbers = itertools.count(1)
    return lambda _: str(next(numbers))


def _uuid(_reading: Reading, options: Sequence[str], _: str) -> Step:
    make = uuid.uuid1 if _first(options).upper() == "TIME" else uuid.uuid4
    return lambda _: str(make())


def _missing(reading: Reading, _options: Sequence[str], word: str) -> Step:
    reading.warn(f"%{word} has no value here and is empty")
    return ""


def _text(text: str | Layout) -> Callable[[Reading, Sequence[str], str], Step]:
    return lambda _reading, _options, _word: text


_SOURCES = {
    "C": "class", "F": "file", "L": "line", "M": "method", "l": "location", "T": "tid", "threadId": "tid",
}  # fmt: skip
CONVERSIONS: dict[str, Callable[[Reading, Sequence[str], str], Step]] = {
    **dict.fromkeys(("d", "date"), _date),
    **dict.fromkeys(("p", "level"), _level),
    **dict.fromkeys(("t", "tn", "thread", "threadName"), _text(lambda line: one_line(line.thread))),
    **dict.fromkeys(("c", "logger"), _logger),
    **dict.fromkeys(("m", "msg", "message"), _text(lambda line: lines(line.message))),
    "n": _text("\n"),
    **dict.fromkeys(("X", "mdc", "MDC"), _context),
    **dict.fromkeys(("x", "NDC"), _text("[]")),
    **dict.fromkeys(("pid", "processId"), _text(str(os.getpid()))),
    **dict.fromkeys(
        ("ex", "throwable", "exception", "xEx", "xThrowable", "xException", "rEx", "rThrowable", "rException"), _trace
    ),
    **dict.fromkeys(("enc", "encode"), _encode),
    **dict.fromkeys(("style", *COLOURS), _style),
    "highlight": _highlight,
    "replace": _replace,
    **dict.fromkeys(("equals", "equalsIgnoreCase"), _equals),
    **dict.fromkeys(("maxLen", "maxLength"), _max_length),
    **dict.fromkeys(("notEmpty", "varsNotEmpty", "variablesNotEmpty"), _not_empty),
    "repeat": _repeat,
    **dict.fromkeys((*_SOURCES, *_SOURCES.values()), _source),
    **dict.fromkeys(("r", "relative"), _text(lambda line: str(int((line.at - STARTED) * 1000)))),
    **dict.fromkeys(("u", "uuid"), _uuid),
    **dict.fromkeys(("sn", "sequenceNumber"), _number),
    **dict.fromkeys(("N", "nano"), _text(lambda line: str(int(line.at * 1_000_000_000)))),
    "endOfBatch": _text("false"),
    **dict.fromkeys(
        ("K", "map", "MAP", "marker", "markerSimpleName", "fqcn", "tp", "threadPriority"), _missing
    ),
}  # fmt: skip
