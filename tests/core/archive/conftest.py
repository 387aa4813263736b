"""Seeing whether anything in a folder changed, web servers to download from, and a store to download into."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from .web import serve

server = pytest.fixture(serve, name="server")
canary = pytest.fixture(serve, name="canary")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture(scope="session", name="tree")
def tree_fixture() -> Callable[[Path], dict[str, str]]:
    return tree


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder: kind, mode and content."""
    found: dict[str, str] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
        found[str(path.relative_to(folder))] = f"{status.st_mode:o} {content}"
    return found
