"""Where a user's files go."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from torchserve.core.user_folders import cache_path, missing_identity


def test_the_cache_folder_of_a_user_with_a_home(tmp_path: Path) -> None:
    assert cache_path("x", {"HOME": str(tmp_path)}) == tmp_path / ".cache" / "torchserve" / "x"
    assert cache_path("x", {"HOME": str(tmp_path), "XDG_CACHE_HOME": "/given"}) == Path("/given/torchserve/x")
    assert not (tmp_path / ".cache").exists(), "it is made when it is needed"


@pytest.mark.parametrize("home", ["file", "file/below", "locked/home"])
def test_without_a_home_to_write_to_it_is_in_the_temp_folder(tmp_path: Path, home: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "locked").mkdir(mode=0o500)
    if home.startswith("locked") and os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    found = cache_path("packages", {"HOME": str(tmp_path / home)})
    assert found == Path(tempfile.gettempdir(), f".torchserve-{os.geteuid()}-packages")


def test_a_user_with_an_entry_lacks_nothing() -> None:
    pwd.getpwuid(os.getuid())
    assert missing_identity({}) == {}
