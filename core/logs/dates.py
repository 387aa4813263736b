"""Dates of log lines and of files put aside, by log4j's names of formats and SimpleDateFormat's letters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DateText: TypeAlias = Callable[[float], str]  # of seconds since the epoch
Warn: TypeAlias = Callable[[str], None]

_NAMED = {
    "ISO8601": "yyyy-MM-dd'T'HH:mm:ss,SSS",
    "ISO8601_BASIC": "yyyyMMdd'T'HHmmss,SSS",
    "ISO8601_OFFSET_DATE_TIME_HH": "yyyy-MM-dd'T'HH:mm:ss,SSSx",
    "ISO8601_OFFSET_DATE_TIME_HHMM": "yyyy-MM-dd'T'HH:mm:ss,SSSxx",
    "ISO8601_OFFSET_DATE_TIME_HHCMM": "yyyy-MM-dd'T'HH:mm:ss,SSSxxx",
    "ISO8601_PERIOD": "yyyy-MM-dd'T'HH:mm:ss.SSS",
    "ISO8601_PERIOD_MICROS": "yyyy-MM-dd'T'HH:mm:ss.nnnnnn",
    "DEFAULT": "yyyy-MM-dd HH:mm:ss,SSS",
    "DEFAULT_MICROS": "yyyy-MM-dd HH:mm:ss,nnnnnn",
    "DEFAULT_NANOS": "yyyy-MM-dd HH:mm:ss,nnnnnnnnn",
    "DEFAULT_PERIOD": "yyyy-MM-dd HH:mm:ss.SSS",
    "ABSOLUTE": "HH:mm:ss,SSS",
    "ABSOLUTE_MICROS": "HH:mm:ss,nnnnnn",
    "ABSOLUTE_NANOS": "HH:mm:ss,nnnnnnnnn",
    "ABSOLUTE_PERIOD": "HH:mm:ss.SSS",
    "COMPACT": "yyyyMMddHHmmssSSS",
    "DATE": "dd MMM yyyy HH:mm:ss,SSS",
    "DATE_PERIOD": "dd MMM yyyy HH:mm:ss.SSS",
    "US_MONTH_DAY_YEAR2_TIME": "dd/MM/yy HH:mm:ss.SSS",
    "US_MONTH_DAY_YEAR4_TIME": "dd/MM/yyyy HH:mm:ss.SSS",
}
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TOKEN = re.compile(r"'((?:[^']|'')*)'?|([A-Za-z])\2*|[^A-Za-z']+")
_OFFSET = re.compile(r"(?:GMT|UTC)?([+-])(\d{1,2}):?(\d\d)?")
_Piece: TypeAlias = Callable[[datetime], str]


def date_text(options: Sequence[str], warn: Warn = lambda _: None) -> DateText:
    """Return what shows a time by the options of `%d`: a format, a time zone and a locale, or the first of these.

    `warn` is told what is not known; letters without a meaning here are shown as they are.
    """
    option = (options[0] if options else "") or "DEFAULT"
    if option == "UNIX":
        return lambda at: str(int(at))
    if option == "UNIX_MILLIS":
        return lambda at: str(int(at * 1000))
    zone = _zone(options[1], warn) if len(options) > 1 and options[1] else None
    if len(options) > 2 and not options[2].lower().startswith("en"):
        warn(f"dates are English here, and not of the locale {options[2]!r}")
    pieces = _pieces(_NAMED.get(option, option), warn)

    def show(at: float) -> str:
        micros = int(at * 1_000_000)
        moment = _second(micros // 1_000_000, zone).replace(microsecond=micros % 1_000_000)
        return "".join([piece if isinstance(piece, str) else piece(moment) for piece in pieces])

    return show


@lru_cache(maxsize=16)  # a busy server writes dozens of lines per second
def _second(seconds: int, zone: tzinfo | None) -> datetime:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.astimezone(zone)


def _zone(name: str, warn: Warn) -> tzinfo:
    if name.upper() in {"UTC", "GMT", "Z", "UCT", "ZULU"}:
        return UTC
    if found := _OFFSET.fullmatch(name):
        ahead = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
        return timezone(ahead if found[1] == "+" else -ahead)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        warn(f"the time zone {name!r} is not known here; UTC is used")  # as Java does
        return UTC


def _pieces(pattern: str, warn: Warn) -> list[str | _Piece]:
    pieces: list[str | _Piece] = []
    for found in _TOKEN.finditer(pattern):
        if found[2]:
            piece = _letters(found[2], len(found[0]))
            if piece is None:
                warn(f"the date pattern {pattern!r} has {found[2]!r}, which is not known here")
            pieces.append(piece or found[0])
        elif found[1] is not None:
            pieces.append(found[1].replace("''", "'") or "'")
        else:
            pieces.append(found[0])
    return pieces


def _letters(letter: str, count: int) -> _Piece | None:
    """Return what `count` of a letter show, None for an unknown letter."""
    number = _NUMBERS.get(letter)
    if letter in "yY" and count == 2:
        return lambda moment: f"{moment.year % 100:02d}"
    if letter in "ML" and count >= 3:
        return lambda moment: _name(_MONTHS[moment.month - 1], count)
    if number is not None:
        return lambda moment: str(number(moment)).rjust(count, "0")
    return {
        "E": lambda moment: _name(_DAYS[moment.weekday()], count),
        "a": lambda moment: "AM" if moment.hour < 12 else "PM",
        "G": lambda _: "AD",
        "n": lambda moment: f"{moment.microsecond * 1000:09d}"[:count].ljust(count, "0"),
        "z": lambda moment: moment.tzname() or "",
        "Z": lambda moment: _offset(moment, 2 if count == 1 else 3),
        "X": lambda moment: _offset(moment, count) if moment.utcoffset() else "Z",
        "x": lambda moment: _offset(moment, count),
    }.get(letter)


_NUMBERS: dict[str, Callable[[datetime], int]] = {
    "y": lambda moment: moment.year,
    "Y": lambda moment: moment.year,
    "M": lambda moment: moment.month,
    "L": lambda moment: moment.month,
    "d": lambda moment: moment.day,
    "D": lambda moment: moment.timetuple().tm_yday,
    "u": lambda moment: moment.isoweekday(),
    "H": lambda moment: moment.hour,
    "k": lambda moment: moment.hour or 24,
    "K": lambda moment: moment.hour % 12,
    "h": lambda moment: moment.hour % 12 or 12,
    "m": lambda moment: moment.minute,
    "s": lambda moment: moment.second,
    "S": lambda moment: moment.microsecond // 1000,
}


def _name(name: str, count: int) -> str:
    return name if count >= 4 else name[:3]


def _offset(moment: datetime, parts: int) -> str:
    """Return `+05`, `+0530` or `+05:30`, for 1, 2 or 3 `parts`."""
    minutes = int((moment.utcoffset() or timedelta()).total_seconds() // 60)
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    return f"{sign}{hours:02d}" + ("" if parts == 1 else f"{rest:02d}" if parts == 2 else f":{rest:02d}")
