"""`torchserve lint`: what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from torchserve.cli.main import main

GOOD = "def handle(data, context): return data\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    for name, text in {
        "good": GOOD,
        "risky": f"import os\nos.system('true')\n{GOOD}",
        "bad": "def handle(data): return data\n",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "handler.py").write_text(text)
    (tmp_path / "junk.mar").write_bytes(b"PK junk")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "printed"),
    [
        ("good", 0, "good: fine\n"),
        ("good/handler.py", 0, "good/handler.py: fine\n"),
        ("risky", 0, "risky: warning: handler.py:2: os.system starts another program\n"),
        ("risky --strict", 1, "risky: warning: handler.py:2: os.system starts another program\n"),
        ("bad good", 1, "bad: error: handler.py:1: handle can't be called as handle(data, context)\ngood: fine\n"),
        ("nowhere", 1, "nowhere: error: nowhere: there is no such file\n"),
    ],
)
def test_what_is_printed(folder: Path, words: str, code: int, printed: str) -> None:
    result = CliRunner().invoke(main, ["lint", *words.split()])
    assert (result.exit_code, result.output) == (code, printed)


@pytest.mark.parametrize("word", ["empty", "nowhere.mar"])
def test_what_can_not_be_opened(folder: Path, word: str) -> None:
    result = CliRunner().invoke(main, ["lint", word])
    assert result.exit_code == 1
    assert f"{word}: error: " in result.output


def test_as_json(folder: Path) -> None:
    result = CliRunner().invoke(main, ["lint", "--json", "good", "risky", "empty"])
    first, second = json.loads(result.output)
    assert first == {
        "model": "risky", "level": "warning", "file": "handler.py", "line": 2,
        "text": "os.system starts another program",
    }  # fmt: skip
    assert (second["model"], second["level"]) == ("empty", "error")
    assert result.exit_code == 1
