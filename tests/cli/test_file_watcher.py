"""Which changes of a folder are seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from torchserve.cli.file_watcher import changed_files, file_states


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("handler.py", "sub/deep/b.py", ".git/config", "logs/ts.log", "__pycache__/handler.pyc"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return tmp_path


def replace(folder: Path) -> None:
    (folder / "new").write_text("y")
    (folder / "new").rename(folder / "handler.py")


@pytest.mark.parametrize(
    ("act", "changed"),
    [
        (lambda folder: None, []),
        (lambda folder: (folder / "handler.py").write_text("longer"), ["handler.py"]),
        (lambda folder: os.utime(folder / "handler.py", (1, 1)), ["handler.py"]),
        (replace, ["handler.py"]),
        (lambda folder: (folder / "sub/deep/b.py").unlink(), ["sub/deep/b.py"]),
        (lambda folder: (folder / "sub/c.json").write_text(""), ["sub/c.json"]),
        (lambda folder: (folder / ".git/config").write_text("longer"), []),
        (lambda folder: (folder / "logs/ts.log").write_text("longer"), []),
        (lambda folder: (folder / "__pycache__/other.pyc").write_text(""), []),
        (lambda folder: (folder / "handler.py~").write_text(""), []),
        (lambda folder: (folder / "dangling").symlink_to("nowhere"), []),
    ],
)
def test_changes(folder: Path, act: Callable[[Path], object], changed: list[str]) -> None:
    before = file_states(folder)
    act(folder)
    assert changed_files(before, file_states(folder)) == changed


def test_a_folder_that_is_gone(folder: Path) -> None:
    assert file_states(folder / "nowhere") == {}
