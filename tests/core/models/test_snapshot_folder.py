"""SnapshotFolder: only whole files are read, whatever happened while one was written; few are kept."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from torchserve.core.config.saved_models import SavedModel, SavedModels
from torchserve.core.models.snapshot import Snapshot, created_at, is_whole
from torchserve.core.models.snapshot_folder import KEEP, SnapshotFolder

NOW = 1_795_430_838_908


def state(workers: int = 1, size: int = 0) -> Snapshot:
    models = [SavedModel(name="m", version="1.0", archive="m.mar", default=True, min_workers=workers)]
    return Snapshot({"filler": "x" * size}, SavedModels(models))


@pytest.fixture
def folder(tmp_path: Path) -> SnapshotFolder:
    return SnapshotFolder(tmp_path / "logs" / "config")


def test_the_newest_is_the_last_written(folder: SnapshotFolder) -> None:
    assert folder.newest() is None
    first = folder.write(state(), "startup", NOW)
    assert folder.newest() == first
    assert is_whole(first.read_bytes())
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    second = folder.write(state(), "snapshot", NOW + 5)
    assert folder.newest() == second
    os.utime(first)  # as a copy of the folder does
    assert folder.newest() == second


def test_a_clock_that_was_set_back_does_not_bring_back_an_old_state(folder: SnapshotFolder) -> None:
    folder.write(state(), "snapshot", NOW)
    second = folder.write(state(), "snapshot", NOW - 3_600_000)
    assert folder.newest() == second
    assert created_at(second.read_bytes()) == NOW + 1


def test_two_in_one_millisecond(folder: SnapshotFolder) -> None:
    made = [folder.write(state(), "snapshot", NOW) for _ in range(3)]
    assert len(set(made)) == 3
    assert folder.newest() == made[-1]


def test_the_oldest_go(folder: SnapshotFolder) -> None:
    folder.path.mkdir(parents=True)
    others = [folder.path / "my-backup.cfg", folder.path / "20261123104718907-startup.cfg.bak"]
    for path in others:
        path.write_text("mine")
    made = [folder.write(state(), "snapshot", NOW + 1000 * i) for i in range(KEEP + 5)]
    assert sorted(folder.path.iterdir()) == sorted([*others, *made[-KEEP:]])


@pytest.mark.parametrize("length", [0, 1, 100, -2, -1])
def test_torn_files_are_passed_over(folder: SnapshotFolder, length: int) -> None:
    whole = folder.write(state(), "snapshot", NOW)
    torn = folder.write(state(), "snapshot", NOW + 5)
    os.truncate(torn, length if length >= 0 else torn.stat().st_size + length)
    unreadable = folder.path / "20991123104718907-snapshot.cfg"
    unreadable.mkdir()
    assert folder.newest() == whole
    assert folder.newest() != folder.write(state(), "snapshot", NOW + 6)


def test_left_over_temporary_files_go_once_they_are_old(folder: SnapshotFolder) -> None:
    folder.write(state(), "startup", NOW)
    old, young = folder.path / ".writing-1", folder.path / ".writing-2"
    for path, age in ((old, 61), (young, 59)):
        path.write_text("half a snap")
        os.utime(path, (NOW / 1000 - age,) * 2)
    folder.write(state(), "snapshot", NOW)
    assert (old.exists(), young.exists()) == (False, True)


LIMITED = """
import resource, sys
from pathlib import Path
from tests.core.models.test_snapshot_folder import NOW, SnapshotFolder, state
folder = SnapshotFolder(Path(sys.argv[1]))
whole = folder.write(state(), "startup", NOW)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    folder.write(state(size=100_000), "snapshot", NOW + 5)
except OSError as error:
    print(error.strerror)
assert [*folder.path.iterdir()] == [whole] == [folder.newest()]
"""


def run(program: str, *arguments: object) -> subprocess.Popen[str]:
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=root, stdout=subprocess.PIPE, text=True
    )


def test_a_disk_that_takes_no_more_leaves_the_old_ones(folder: SnapshotFolder) -> None:
    with run(LIMITED, folder.path) as child:
        assert child.communicate()[0] == "File too large\n"
        assert child.returncode == 0


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(OSError, match="Not a directory"):
        SnapshotFolder(tmp_path / "logs" / "config").write(state(), "startup", NOW)
    assert SnapshotFolder(tmp_path / "logs" / "config").newest() is None


WRITING = """
import sys, time
from pathlib import Path
from tests.core.models.test_snapshot_folder import NOW, SnapshotFolder, state
folder = SnapshotFolder(Path(sys.argv[1]))
for workers in range(int(sys.argv[2]), 10**9):
    folder.write(state(workers, size=300_000), "snapshot", NOW)
    print(workers, flush=True)
"""


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def test_killed_in_the_middle_of_writing(folder: SnapshotFolder) -> None:
    """Kill the writer at many points: what is found then is whole, and no older than what it had finished."""
    done = 0
    for length in range(0, 300_000, 30_000):
        with run(WRITING, folder.path, done + 1) as child:
            assert child.stdout is not None
            done = int(child.stdout.readline())
            while max(map(size, folder.path.glob(".writing-*")), default=-1) < length:
                assert child.poll() is None
            os.kill(child.pid, signal.SIGKILL)
            done = max([done, *map(int, child.stdout.read().split())])
        found = folder.newest()
        assert found is not None
        assert all(is_whole(path.read_bytes()) for path in folder.path.glob("*.cfg"))
        workers = int(found.read_text().partition('"minWorkers"\\: ')[2].partition("\\n")[0])
        assert done <= workers <= done + 1
        done = workers
