"""The comparison itself: it sees differences, names what varies, and applies departures and nothing else."""

from __future__ import annotations

import pytest

from . import report
from .compare import told
from .departures import allowed, edited
from .plain import Namer, layout, scrape
from .records import unrecorded
from .rows import SETUPS
from .steps import Call, Row


@pytest.mark.parametrize(
    ("theirs", "ours", "fields"),
    [
        ([{"a": 1}], [{"a": 1}], []),
        ([{"a": 1}], [{"a": 2}], ["0/a"]),
        ([{"a": 1}], [{"a": 1.0}], ["0/a"]),
        ([{"a": 1}], [{"a": True}], ["0/a"]),
        ([{"a": 1, "b": 2}], [{"b": 2, "a": 1}], ["0 (order)"]),
        ([{"a": None}], [{}], ["0/a"]),
        ([{}], [{"a": None}], ["0/a"]),
        ([1, 2], [1], [""]),
        ([{"status": 200, "body": "x"}], [{"status": 404, "body": "y"}], ["0"]),
        ([{"connection": "close"}], [{"connection": "keep-alive"}], []),
        ([{"connection": "keep-alive"}], [{"connection": "close"}], ["0/connection"]),
        ([{"message": "Worker died."}], [{"message": "Worker died. It was tired."}], []),
        ([{"message": "Worker died."}], [{"message": "Worker left."}], ["0/message"]),
    ],
)
def test_differences(theirs: object, ours: object, fields: list[str]) -> None:
    lines = told(theirs, ours, allowed).splitlines()
    assert [line.removesuffix(":") for line in lines if not line.startswith("  ")] == fields


def test_what_varies_is_named() -> None:
    namer = Namer({"/a/b": "<home>", "8080": "<inference port>"}, "0.12.0")
    told_of = "/a/b/x on 8080, 18080, TorchServe 0.12.0, 0.12.0.1, 2026-11-22T10:32:52,046 7b0f9b7e-2a1c-4f6e-9d8e-1a2b3c4d5e6f"
    assert namer.text(told_of) == ("<home>/x on <inference port>, 18080, TorchServe <version>, 0.12.0.1, <time> <uuid>")
    assert namer.text('"pid": 71, "pid": -1') == '"pid": "<pid>", "pid": -1'


@pytest.mark.parametrize(
    ("text", "form"),
    [('{\n  "a": 1\n}\n', "json, pretty, newline"), ('{\n  "a": 1\n}', "json, pretty"), ('{"a": 1}', "json")],
)
def test_layout(text: str, form: str) -> None:
    assert layout(text, {"a": 1}) == form


def test_scrapes_keep_what_is_asked() -> None:
    text = '# HELP A help\n# TYPE A counter\nA{x="1",} 3.0\nB{x="2",} 4.5\nAB 1.0\n'
    assert scrape(text, "A|B", "A") == ["# HELP A help", "# TYPE A counter", 'A{x="1",} 3.0', 'B{x="2",} <n>']


def test_departures_change_only_what_they_name() -> None:
    seen = [{"status": 200, "body": {"a": 1, "b": 2}}]
    assert edited(seen, {"0/status": 201, "0/body/a": None}) == [{"status": 201, "body": {"b": 2}}]
    assert seen == [{"status": 200, "body": {"a": 1, "b": 2}}]


def test_another_question_is_another_row() -> None:
    one = Row("x", "4.1", "CORE", (Call("inference", path="/a"),))
    assert one.digest != Row("x", "4.1", "CORE", (Call("inference", path="/b"),)).digest


def test_the_report_is_up_to_date() -> None:
    assert report.REPORT.read_text() == report.text(), "make it anew: python -m tests.parity report"


def test_every_row_is_recorded_and_placed() -> None:
    assert [row.name for setup in SETUPS for row in unrecorded(setup)] == []
    assert all(row.tag in {"CORE", "STANDARD"} and row.section for setup in SETUPS for row in setup.rows)
