"""Clocks, sizes and words: the tree keeps them; each planted breach is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import prose
from .tree import AROUND, FOLDERS, REPO, plant

EVERYWHERE = (*FOLDERS, *AROUND)
EXCUSED: dict[str, str] = {}  # "path" or "path:function" -> why it may stand above the wall; this list only shrinks


def test_no_clock_in_a_pure_file() -> None:
    assert prose.clocks(REPO) == []


def test_sizes() -> None:
    assert prose.sizes(REPO, EVERYWHERE, EXCUSED) == []


def test_few_parameters() -> None:
    torchserves = ("core/backend/model_loader.py", "core/handlers/context.py")
    assert (
        prose.parameters(REPO, ("scheduler", "core", "http", "ts", "model_archiver", "benchmarks"), torchserves) == []
    )


def test_every_excuse_has_a_reason() -> None:
    assert [name for name, reason in EXCUSED.items() if len(reason.split()) < 3] == []


def test_names_say_something() -> None:
    assert prose.names(REPO) == []


def test_no_module_beside_a_package_of_its_name() -> None:
    assert prose.shadowed(REPO) == []


def test_every_module_says_what_it_is_for() -> None:
    assert prose.docstrings(REPO) == []


def test_nothing_is_unfinished() -> None:
    assert prose.unfinished(REPO, EVERYWHERE) == []


@pytest.mark.parametrize(
    ("code", "breach"),
    [
        ("import time\nx = time.time()", "time.time"),
        ("import time\nread = time.monotonic", "time.monotonic"),
        ("import time as t\nx = t.time()", "import time as t"),
        ("from time import monotonic", "time.monotonic"),
        ("import datetime\nx = datetime.datetime.now()", "datetime.datetime.now"),
        ("from datetime import datetime\nx = datetime.utcnow()", "datetime.utcnow"),
        ("import asyncio\nasync def f():\n    await asyncio.sleep(1)", "asyncio.sleep"),
        ("from asyncio import sleep", "asyncio.sleep"),
        ("def f(self):\n    return self._loop.time()", "self._loop.time"),
    ],
)
@pytest.mark.parametrize("room", ["scheduler", "core/wire"])
def test_a_planted_clock_is_seen(tmp_path: Path, room: str, code: str, breach: str) -> None:
    plant(tmp_path, f"{room}/planted.py", code)
    assert [violation.partition(": ")[2] for violation in prose.clocks(tmp_path)] == [breach]


@pytest.mark.parametrize("path", ["scheduler/model_scheduler.py", "scheduler/virtual_time.py", "core/server.py"])
def test_a_driver_may_read_a_clock(tmp_path: Path, path: str) -> None:
    plant(tmp_path, path, "import time\nx = time.monotonic()")
    assert prose.clocks(tmp_path) == []


def test_an_argument_called_now_is_no_clock(tmp_path: Path) -> None:
    plant(tmp_path, "scheduler/planted.py", "def f(now, job):\n    return now - job.time, job.now")
    assert prose.clocks(tmp_path) == []


def function(name: str, lines: int) -> str:
    return "\n".join([f"def {name}():", *["    pass"] * (lines - 1)]) + "\n"


@pytest.mark.parametrize(
    ("text", "over"),
    [
        ("x = 1\n" * 400, []),
        ("x = 1\n" * 401, ["core/planted.py: 401 lines, at most 400"]),
        (function("long", 60), []),
        (function("long", 61), ["core/planted.py:long: 61 lines, at most 60"]),
        ("async " + function("long", 61), ["core/planted.py:long: 61 lines, at most 60"]),
        (function("long", 61) + function("long", 2), ["core/planted.py:long: 61 lines, at most 60"]),
    ],
)
def test_a_planted_size_is_seen(tmp_path: Path, text: str, over: list[str]) -> None:
    plant(tmp_path, "core/planted.py", text)
    assert prose.sizes(tmp_path, ("core",), {}) == over


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("def f(a, b, c, d, e, f): ...", False),
        ("def f(a, b, c, d, e, f, g): ...", True),
        ("async def f(a, b, /, c, d, *, e, f, g): ...", True),
        ("class C:\n    def f(self, a, b, c, d, e, f): ...", False),
    ],
)
def test_planted_parameters_are_seen(tmp_path: Path, code: str, seen: bool) -> None:
    plant(tmp_path, "core/wire/planted.py", code)
    assert bool(prose.parameters(tmp_path, ("core/wire",))) is seen


def test_an_excuse_holds_only_while_it_is_needed(tmp_path: Path) -> None:
    excuse = {"core/planted.py:long": "a table that reads best in one piece"}
    plant(tmp_path, "core/planted.py", function("long", 61))
    assert prose.sizes(tmp_path, ("core",), excuse) == []
    plant(tmp_path, "core/planted.py", function("long", 20))
    assert prose.sizes(tmp_path, ("core",), excuse) == [
        "core/planted.py:long: excused and within the wall: strike it off"
    ]


@pytest.mark.parametrize("path", ["core/utils.py", "http/common.py", "core/models/helpers.py", "core/util/reading.py"])
def test_a_planted_name_is_seen(tmp_path: Path, path: str) -> None:
    plant(tmp_path, path, "")
    assert len(prose.names(tmp_path)) == 1


def test_ts_keeps_the_names_of_torchserve(tmp_path: Path) -> None:
    plant(tmp_path, "ts/utils/util.py", "")
    plant(tmp_path, "ts/handler_utils/utils.py", "")
    assert prose.names(tmp_path) == []


def test_a_planted_shadow_is_seen(tmp_path: Path) -> None:
    for path in ("core/logs.py", "core/logs/__init__.py", "core/notes.py", "core/notes/page.py", "http/logs.py"):
        plant(tmp_path, path, "")
    assert prose.shadowed(tmp_path) == ["core/logs.py: never imported, the package logs/ is"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("x = 1\n", True),
        ("", True),
        ('"""  """\n', True),
        ('"""' + "line\n" * 60 + '"""\n', False),
        ('"""One line."""\n', False),
    ],
)
@pytest.mark.parametrize("path", ["core/planted.py", "ts/planted.py", "benchmarks/planted.py", "core/new/__init__.py"])
def test_a_planted_docstring_is_seen(tmp_path: Path, path: str, text: str, seen: bool) -> None:
    plant(tmp_path, path, text)
    assert bool(prose.docstrings(tmp_path)) is seen


@pytest.mark.parametrize("word", ["TO" + "DO", "FIX" + "ME", "X" + "XX"])
def test_a_planted_mark_is_seen(tmp_path: Path, word: str) -> None:
    plant(tmp_path, "tests/planted.py", f"x = 1\n# {word}: later\n")
    assert prose.unfinished(tmp_path, ("tests",)) == [f"tests/planted.py:2: {word}"]


@pytest.mark.parametrize("stub", ["raise NotImplementedError", "raise NotImplementedError('later')"])
def test_a_planted_stub_is_seen(tmp_path: Path, stub: str) -> None:
    plant(tmp_path, "core/planted.py", f"# NotImplementedError is a RuntimeError\ndef f():\n    {stub}\n")
    assert prose.unfinished(tmp_path, ("core",)) == ["core/planted.py:3: a stub"]


def test_a_word_within_a_word_is_no_mark(tmp_path: Path) -> None:
    plant(tmp_path, "tests/planted.py", "metric = 'Requests2" + "X" * 3 + "'\n")
    assert prose.unfinished(tmp_path, ("tests",)) == []
