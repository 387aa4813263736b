"""A temp dir, and a working folder, of each test's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's servers keep their pid file."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in ("TS_CONFIG_FILE", "LOG_LOCATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _no_tracker_left() -> Iterator[None]:
    """Processes that a load generator spawns bring one that tracks what they share, which would outlive them here; other
    tests count the children of this process.
    """
    yield
    tracker = resource_tracker._resource_tracker
    if tracker._fd is not None:
        tracker._stop()
