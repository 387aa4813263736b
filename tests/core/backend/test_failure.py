"""failure_of(): the place in the model's own code, and a text that can be sent whatever was raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchserve.core.backend.failure import failure_of


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def raised(code: str, file: str) -> BaseException:
    try:
        exec(compile(code, file, "exec"), {"Mute": Mute})
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("code", "kind", "message", "line"),
    [
        ("\nraise ValueError('no such row')", "ValueError", "no such row", 2),
        ("import json\n\njson.loads('{')", "JSONDecodeError", "Expecting property name", 3),  # innermost of its own
        ("x = (\n", "SyntaxError", "'(' was never closed", 1),
        ("raise Mute", "Mute", "", 1),
        ("raise ValueError('\\ud800')", "ValueError", "?", 1),
        ("raise SystemExit(3)", "SystemExit", "3", 1),
    ],
)
def test_inside_the_model(tmp_path: Path, code: str, kind: str, message: str, line: int):
    found = failure_of(raised(code, str(tmp_path / "sub" / "handler.py")), str(tmp_path))
    assert (found.kind, found.file, found.line) == (kind, "sub/handler.py", line)
    assert message in found.message
    assert kind in found.traceback
    found.traceback.encode()


def test_outside_of_it(tmp_path: Path):
    found = failure_of(raised("1 / 0", "/elsewhere/library.py"), str(tmp_path))
    assert (found.file, found.line) == ("", 0)
    assert "library.py" in found.traceback


def test_a_long_one_keeps_its_end(tmp_path: Path):
    found = failure_of(raised("raise ValueError('x' * 100_000 + 'the end')", "h.py"), str(tmp_path))
    assert len(found.traceback) < 10_000
    assert found.traceback.endswith("the end\n")
