"""The folder for unpacked archives: private, gone at the end, and swept by the next server after a kill."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from torchserve.core.errors import InvalidConfig
from torchserve.core.workdir import LOCK, PREFIX, WorkDir, sweep

from ..descriptors import open_paths


@pytest.fixture(autouse=True)
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temp dir of the test's own."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def leftover(temp: Path, name: str = f"{PREFIX}left") -> Path:
    """What a server that was killed leaves behind."""
    folder = temp / name
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights.pt").touch()
    (folder / LOCK).touch()
    return folder


def test_it_is_private_and_gone_at_the_end(temp: Path) -> None:
    work = WorkDir()
    assert work.path.parent == temp
    assert work.path.name.startswith(PREFIX)
    assert stat.S_IMODE(work.path.stat().st_mode) == 0o700
    (work.path / "deep" / "er").mkdir(parents=True)
    (work.path / "deep" / "file").touch()
    work.remove()
    assert list(temp.iterdir()) == []
    assert open_paths(str(temp)) == []


def test_one_that_is_in_use_is_left_alone(temp: Path) -> None:
    first = WorkDir()
    second = WorkDir()
    assert {*temp.iterdir()} == {first.path, second.path}
    first.remove()
    sweep()
    assert [*temp.iterdir()] == [second.path]
    second.remove()


def test_its_lock_is_not_for_children(temp: Path) -> None:
    """A worker that outlives the server must not keep the folder alive."""
    work = WorkDir()
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, close_fds=False, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        os.close(work._lock)
        sweep()
        assert not work.path.exists()
        child.kill()


def test_what_a_killed_server_left_is_swept_by_the_next(temp: Path) -> None:
    script = (
        "import sys, tempfile\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "from torchserve.core.workdir import WorkDir\n"
        "print(WorkDir().path, flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(temp)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        folder = Path(child.stdout.readline().strip())
        sweep()
        assert folder.is_dir(), "its server lives"
        child.kill()
    assert folder.is_dir()
    work = WorkDir()
    assert [*temp.iterdir()] == [work.path]
    work.remove()


def test_only_what_is_ours_is_swept(temp: Path, tmp_path: Path) -> None:
    swept = leftover(temp)
    kept = [
        leftover(temp, "other-folder"),
        leftover(tmp_path, f"{PREFIX}elsewhere"),
        temp / f"{PREFIX}link",
        temp / f"{PREFIX}without-lock",
        temp / f"{PREFIX}lock-is-a-link",
        temp / f"{PREFIX}file",
    ]
    (temp / f"{PREFIX}link").symlink_to(leftover(tmp_path, "target"))
    (temp / f"{PREFIX}without-lock").mkdir()
    (temp / f"{PREFIX}lock-is-a-link").mkdir()
    (temp / f"{PREFIX}lock-is-a-link" / LOCK).symlink_to(tmp_path / "victim")
    (temp / f"{PREFIX}file").touch()
    (tmp_path / "victim").touch()
    sweep()
    assert not swept.exists()
    assert all(path.exists() for path in kept)
    assert (tmp_path / "target" / "model" / "weights.pt").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of somebody else's")
def test_another_users_folder_is_left_alone(temp: Path) -> None:
    folder = leftover(temp)
    os.chown(folder, 12345, 12345)
    sweep()
    assert (folder / "model" / "weights.pt").exists()


def test_a_temp_dir_that_can_not_be_had_is_one_line(temp: Path) -> None:
    temp.rmdir()
    with pytest.raises(InvalidConfig, match=r"^No folder for unpacked archives can be made \(see TMPDIR\): .*No such"):
        WorkDir()
