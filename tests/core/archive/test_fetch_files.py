"""file:// URLs: copied into the store where they are allowed, and only what is a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from torchserve.core.archive.allowed_urls import TORCHSERVE_DEFAULT
from torchserve.core.archive.limits import DownloadLimits
from torchserve.core.archive.store import Located
from torchserve.core.errors import ArchiveNotFound, DownloadFailed

from .finding import locate


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "x.mar").write_bytes(b"archive")
    return tmp_path / "shelf"


def test_file_urls_are_copied_where_allowed(shelf: Path, store: Path):
    url = f"file://{shelf}/x.mar"
    located = locate(url, store, [f"file://{shelf}/.*"])
    assert located == Located(url, store / "x.mar", "x.mar", downloaded=True)
    assert (located.path.read_bytes(), (shelf / "x.mar").read_bytes()) == (b"archive", b"archive")


@pytest.mark.parametrize("patterns", [None, TORCHSERVE_DEFAULT, ["file:///elsewhere/.*"], []])
def test_file_urls_are_refused_elsewhere(patterns: list[str] | None, shelf: Path, store: Path):
    with pytest.raises(ArchiveNotFound, match="does not match any allowed URL"):
        locate(f"file://{shelf}/x.mar", store, patterns)
    assert os.listdir(store) == []


def test_without_allowed_urls_file_urls_stay_in_the_store(store: Path):
    (store / "sub").mkdir()
    (store / "sub" / "x.mar").write_bytes(b"archive")
    assert locate(f"file://{store}/sub/x.mar", store, None).path.read_bytes() == b"archive"


@pytest.mark.parametrize(
    ("name", "cause"), [("gone", "No such file"), ("folder", "directory|no regular"), ("fifo", "no regular file")]
)
def test_file_urls_of_what_is_no_file(name: str, cause: str, shelf: Path, store: Path):
    (shelf / "folder").mkdir()
    os.mkfifo(shelf / "fifo")
    with pytest.raises(DownloadFailed, match=cause):
        locate(f"file://{shelf}/{name}", store, ["file://.*"])
    assert os.listdir(store) == []


def test_a_large_local_file(shelf: Path, store: Path):
    with pytest.raises(DownloadFailed, match="larger than 3 bytes"):
        locate(f"file://{shelf}/x.mar", store, ["file://.*"], DownloadLimits(max_bytes=3))
    assert os.listdir(store) == []
