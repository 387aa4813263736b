"""Conversion patterns and dates, beside what log4j 2's own PatternLayout, of TorchServe 0.12, made of the same event."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.logs.dates import _second, date_text
from torchserve.core.logs.line import Line, Source
from torchserve.core.logs.patterns import pattern_layout

NAME = "org.pytorch.serve.wlm.WorkerThread"
LINE = Line(1795343572.046, logging.WARNING, "W-9000", NAME, "hello", "id-1")


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    _second.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()
    _second.cache_clear()


def warned(pattern: str, line: Line = LINE, **options: bool) -> tuple[str, list[str]]:
    warnings: list[str] = []
    return pattern_layout(pattern, warnings.append, **options)(line), warnings


# What log4j made of each, with the event of LINE. ^ stands for ESC.
LOG4J = {
    "%c{1}|%c{2}|%c{-1}|%c{1.}|%c{1.1.~.~}|%c{.}|%c{36}|%logger{1.2.*}": (
        f"WorkerThread|wlm.WorkerThread|pytorch.serve.wlm.WorkerThread|o.p.s.w.WorkerThread|o.p.~.~.WorkerThread"
        f"|....WorkerThread|{NAME}|o.py.serve.wlm.WorkerThread"
    ),
    "%C|%F|%file|%L|%line|%M|%method|%l|%location": "?||||||||",
    "%d{ISO8601}|%d{ISO8601_BASIC}|%d": "2026-11-22T10:32:52,046|20261122T103252,046|2026-11-22 10:32:52,046",
    "%d{ISO8601_OFFSET_DATE_TIME_HH}|%d{ISO8601_OFFSET_DATE_TIME_HHMM}|%d{ISO8601_OFFSET_DATE_TIME_HHCMM}": (
        "2026-11-22T10:32:52,046+00|2026-11-22T10:32:52,046+0000|2026-11-22T10:32:52,046+00:00"
    ),
    "%d{ISO8601_PERIOD}|%d{ISO8601_PERIOD_MICROS}": "2026-11-22T10:32:52.046|2026-11-22T10:32:52.046000",
    "%d{DEFAULT}|%d{DEFAULT_MICROS}|%d{DEFAULT_NANOS}|%d{DEFAULT_PERIOD}": (
        "2026-11-22 10:32:52,046|2026-11-22 10:32:52,046000|2026-11-22 10:32:52,046000000|2026-11-22 10:32:52.046"
    ),
    "%d{ABSOLUTE}|%d{ABSOLUTE_MICROS}|%d{ABSOLUTE_NANOS}|%d{ABSOLUTE_PERIOD}|%d{COMPACT}": (
        "10:32:52,046|10:32:52,046000|10:32:52,046000000|10:32:52.046|20261122103252046"
    ),
    "%d{DATE}|%d{DATE_PERIOD}|%d{US_MONTH_DAY_YEAR2_TIME}|%d{US_MONTH_DAY_YEAR4_TIME}": (
        "22 Nov 2026 10:32:52,046|22 Nov 2026 10:32:52.046|22/11/26 10:32:52.046|22/11/2026 10:32:52.046"
    ),
    "%d{UNIX}|%d{UNIX_MILLIS}|%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX}": "1795343572|1795343572046|2026-11-22T10:32:52.046Z",
    "%d{HH:mm}{UTC}|%d{HH:mm}{GMT+5}|%d{HH:mm:ss z}{America/New_York}|%d{X XX Z ZZZZ}": (
        "10:32|15:32|05:32:52 EST|Z Z +0000 +00:00"
    ),
    "%d{EEE EEEE MMM MMMM d M yy uuuu a h K k D}": "Sun Sunday Nov November 22 11 26 0007 AM 10 10 10 326",
    "%d{HH:mm:ss.SSSSSS}|%d{S}|%d{SS}|%d{'at' HH''mm}|%d{yyyy": "10:32:52.000046|46|46|at 10'32|2026",
    '%enc{a"b<%m>&}|%enc{<%m>}{HTML}|%enc{"%m"}{JSON}|%encode{<%m>}{XML}|%enc{%m}{CRLF}': (
        "a&quot;b&lt;hello&gt;&amp;|&lt;hello&gt;|\\\"hello\\\"|&lt;hello&gt;|hello"
    ),
    "%highlight{%p %m}|%highlight{%p}{WARN=red, ERROR=blue}|%highlight{%p}{STYLE=Logback}": (
        "^[33mWARN hello^[m|^[31mWARN^[m|^[31mWARN^[m"
    ),
    "%style{%m}{cyan}|%style{x}{yellow, bright}|%style{x}{bg_red}|%red{x}": "^[36mhello^[m|^[33;1mx^[m|^[41mx^[m|^[31mx^[m",
    "%highlight{%d{HH}{UTC} %-5level}{FATAL=white}": "^[33m10 WARN ^[m",
    "%equals{%m}{hello}{bye}|%equalsIgnoreCase{%m}{HELLO}{bye}": "bye|bye",
    "%replace{%m}{l+}{L}|%replace{%c}{\\.}{/}": "heLo|org/pytorch/serve/wlm/WorkerThread",
    "%maxLen{%m %m %m}{12}|%maxLength{%m}{3}|%maxLen{%m %m %m %m %m}{22}": "hello hello |hel|hello hello hello hell...",
    "%notEmpty{[%X{a}]}|%notEmpty{[%X{request_id}]}|%variablesNotEmpty{[%X{request_id}]}": "|[id-1]|[id-1]",
    "%X|%X{request_id}|%X{request_id,b}|%mdc{a}|%x": "{request_id=id-1}|id-1|{request_id=id-1}||[]",
    "%p{length=1}|%p{lowerCase=true}|%level{WARN=Warnung}|%p{WARN=W, length=2}": "W|warn|Warnung|W",
    "%5.3p|%-7p]|%.2p|%.-2p|%7.2p|%07p|%-.3p": "ARN|WARN   ]|RN|WA|RN|000WARN|ARN",
    "%-40.40c|%20.-10c": f"{NAME}      |org.pytorc",
    "%m{nolookups}|%m{}x|%mfoo|%msgs|%nfoo": "hello|hellox|hellofoo|hellos|\nfoo",
    "%%|%ex|%xEx{none}|%repeat{*}{3}|\\tx": "%|||***|\tx",
    "%q|%foo{bar}|%|%5|%i": "%q|%foo|%|%5|%i",
    "[%-5p]{a}|%endOfBatch|%sn": "[WARN ]{a}|false|1",
}  # fmt: skip


@pytest.mark.parametrize("pattern", LOG4J)
def test_a_pattern_is_what_log4j_makes_of_it(pattern: str) -> None:
    assert warned(pattern)[0].replace("\x1b", "^") == LOG4J[pattern]


@pytest.mark.parametrize(
    ("pattern", "warning"),
    [
        ("%q", "the conversion '%q' is not known here"),
        ("%foo{bar}", "the conversion '%foo{bar}' is not known here"),
        ("%marker", "%marker has no value here"),
        ("%d{W}", "the date pattern 'W' has 'W', which is not known here"),
        ("%d{HH}{Nowhere/Land}", "the time zone 'Nowhere/Land' is not known here"),
        ("%d{HH}{UTC}{de}", "of the locale 'de'"),
        ("%enc{%m}{YAML}", "the encoding 'YAML' is not known here"),
        ("%style{%m}{sparkling}", "the style 'sparkling' is not known here"),
        ("%highlight{%m}{WARN=sparkling}", "the style 'sparkling' is not known here"),
        ("%replace{%m}{(}{x}", "the replacement of '(' is not known here"),
        ("%replace{%m}", "%replace needs"),
        ("%maxLen{%m}", "%maxLen needs"),
        ("%repeat{x}", "%repeat needs"),
    ],
)
def test_what_is_not_known_is_one_warning_that_names_it(pattern: str, warning: str) -> None:
    (text,) = warned(pattern)[1]
    assert warning in text


def test_a_line_of_ours_has_a_place_in_the_code() -> None:
    line = LINE._replace(source=Source("serve.py", 7, "run", 4711))
    assert warned("%C|%F:%L|%M|%tid", line) == (f"{NAME}|serve.py:7|run|4711", [])
    assert warned("%l", line)[0] == f"{NAME}.run(serve.py:7)"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("%m%n", "hello\n    one\n    two\n"), ("%m%n%ex", "hello\n    one\n    two\n"), ("%m %ex{short}", "hello two"),
        ("%m%n%xEx{1}", "hello\n    one\n"), ("%m%ex{none}", "hello"),
    ],
)  # fmt: skip
def test_where_a_traceback_stands(pattern: str, expected: str) -> None:
    assert warned(pattern, LINE._replace(trace="one\ntwo"))[0] == expected


def test_without_traces_or_colours() -> None:
    assert warned("%m%n", LINE._replace(trace="one"), traces=False)[0] == "hello\n"
    assert warned("%highlight{%m}%style{x}{red}", ansi=False)[0] == "hellox"


def test_a_message_can_not_end_its_line_in_json() -> None:
    text, _ = warned('{"m": "%enc{%m}{JSON}"}%n', LINE._replace(message='a"\n[ERROR] b'))
    assert text == '{"m": "a\\"\\n[ERROR] b"}\n'


def test_how_long_it_has_run() -> None:
    assert re.fullmatch(r"-?\d+ -?\d+", warned("%r %relative")[0])
    assert int(warned("%r", LINE._replace(at=LINE.at + 1))[0]) == int(warned("%r")[0]) + 1000


@given(st.text(alphabet="yMdHhmsSnXZzEaG'-:,. T{}", max_size=12), st.sampled_from(["", "UTC", "GMT-3", "x"]))
def test_any_date_is_a_text(pattern: str, zone: str) -> None:
    assert isinstance(date_text([pattern, zone])(LINE.at), str)


def test_a_time_zone_that_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    _second.cache_clear()
    assert date_text(["ISO8601_OFFSET_DATE_TIME_HHCMM"])(LINE.at) == "2026-11-22T16:02:52,046+05:30"
    assert date_text(["HH:mm X XX a K"])(LINE.at) == "16:02 +05 +0530 PM 4"
    assert date_text(["HH:mm", "UTC"])(LINE.at) == "10:32"
