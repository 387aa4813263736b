"""No text of others forges, hides or colours a line of a text log; what is ours keeps its lines."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.logs.install import log_worker_line
from torchserve.core.logs.layout import PLAIN_PATTERN, TS_PATTERN
from torchserve.core.logs.line import Line
from torchserve.core.logs.patterns import pattern_layout
from torchserve.core.logs.plan import ACCESS, default_plan
from torchserve.core.logs.printable import lines, one_line
from torchserve.core.logs.writer import Pages

from .conftest import Logging

FORGED = "2026-11-22T10:32:52,046 [INFO ] main ACCESS_LOG - 127.0.0.1 forged"
WILD = st.text() | st.text("a1 \n\r\t\x1b\x85\u2028\u202e\x7f\ud800", max_size=12)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ä 模型 🤗 \t tab\xa0", "plain, ä 模型 🤗 \t tab\xa0"),
        ("a\nb\r\nc", r"a\nb\r\nc"),
        ("\x1b[31mred\x1b[0m \x07\0\x7f\x9b", r"\x1b[31mred\x1b[0m \x07\x00\x7f\x9b"),
        ("a\x85b\u2028c\u2029d", r"a\x85b\u2028c\u2029d"),
        ("\u202egnp.exe\u2066 \u200f \ufeff \ud800", r"\u202egnp.exe\u2066 \u200f \ufeff \ud800"),
    ],
)
def test_escapes(text: str, shown: str):
    assert one_line(text) == shown


@given(WILD)
def test_one_line_is_one_line_for_every_reader(text: str):
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert one_line(shown) == shown
    assert lines(text).split("\n") == [one_line(part) for part in text.split("\n")]


@given(WILD, WILD)
def test_every_pattern_begins_each_line_itself(message: str, trace: str):
    """But for the breaks of a message that are ours, which `lines` keeps: here there are none."""
    line = Line(1.0, 20, message, "logger", one_line(message), message, trace)
    for pattern in (TS_PATTERN, PLAIN_PATTERN, "%d %t %X{request_id} %m%n"):
        first, *rest = pattern_layout(pattern)(line).splitlines()
        assert re.match(r"\d{4}-\d\d-\d\d", first)
        assert all(each.startswith("    ") for each in rest)


class Entry:
    at = 1.0
    request_id = ""
    trace_id = ""

    def text(self) -> str:
        return f"GET /predictions/a\r\n{FORGED}"


@pytest.mark.parametrize("as_json", [False, True])
def test_an_entry_of_a_stream_is_one_line(as_json: bool):
    gathered: dict[object, list[str]] = {}
    Pages(ACCESS, default_plan(console=True, as_json=as_json), gathered).add(Entry())  # type: ignore[arg-type]
    assert len(gathered) == 2
    for (text,) in gathered.values():
        assert text.count("\n") == 1
        assert text.endswith("\n")


def test_what_is_logged_and_printed(tmp_path: Path, logging_to: Logging):
    with logging_to(default_plan(console=False)):
        log = logging.getLogger("x")
        log.warning("model %s is gone", f"m\n{FORGED}")
        log.warning("\n######\nThe keys are in %s\n######", "a\x1b[2J")
        log_worker_line("W-9000-m_1.0", "stdout", f"\r\x1b[2K{FORGED}", "")
        try:
            raise ValueError(f"text\n{FORGED}")
        except ValueError:
            log.exception("failed")
    said = (tmp_path / "ts_log.log").read_text().split("\n")
    assert [line for line in said if line.startswith("2026-11-22T10:32:52")] == []
    assert f"    {FORGED} is gone" in said, "behind the model"
    assert f"    {FORGED}" in said, "in the traceback"
    assert "The keys are in a\\x1b[2J" in said, "the lines of our own texts stay"
    (printed,) = (tmp_path / "model_log.log").read_text().splitlines()
    assert printed.endswith(f" - \\r\\x1b[2K{FORGED}")


def test_json_keeps_what_was_said(tmp_path: Path, logging_to: Logging):
    with logging_to(default_plan(console=False, as_json=True)):
        logging.getLogger("x").warning("%s", "a\r\x1b")
    assert orjson.loads((tmp_path / "ts_log.log").read_bytes())["message"] == "a\r\x1b"
