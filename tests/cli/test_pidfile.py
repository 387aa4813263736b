"""Which process is the server: the one that holds the lock, whatever a file says."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from torchserve.cli.pidfile import PidFile, pid_path, remove_orphan, running_pid
from torchserve.core.errors import InvalidConfig

from ..descriptors import open_paths


@pytest.fixture(autouse=True)
def path(temp: Path) -> Path:
    return temp / ".model_server.pid"


HOLDER = "import sys; from torchserve.cli.pidfile import PidFile; PidFile(); print(flush=True); sys.stdin.read()"


def holder() -> subprocess.Popen[bytes]:
    """Another server, which holds the pid file until it is killed."""
    child = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"\n"
    return child


def test_it_is_where_torchserve_has_it(path: Path) -> None:
    assert pid_path() == path


def test_it_is_held_and_then_gone(path: Path) -> None:
    assert running_pid() is None
    held = PidFile()
    assert path.read_text() == f"{os.getpid()}\n"
    assert running_pid() == os.getpid()
    assert open_paths(str(path)) == [str(path)]
    held.remove()
    assert not path.exists()
    assert running_pid() is None
    assert open_paths(str(path.parent)) == []


def test_there_is_one_server_only(path: Path) -> None:
    with holder() as child:
        assert running_pid() == child.pid
        for _ in range(3):
            with pytest.raises(InvalidConfig, match=r"^TorchServe is already running, please use torchserve --stop"):
                PidFile()
        assert path.read_text() == f"{child.pid}\n"
        child.kill()


def test_a_killed_server_holds_nothing(path: Path) -> None:
    with holder() as child:
        child.kill()
    assert path.exists()
    assert running_pid() is None
    PidFile().remove()


def test_a_stale_pid_is_not_believed_though_a_process_has_it(path: Path) -> None:
    path.write_text(f"{os.getppid()}\nand more text of another program\n")
    assert running_pid() is None
    held = PidFile()
    assert path.read_text() == f"{os.getpid()}\n"
    held.remove()


@pytest.mark.parametrize("text", ["", "junk", "-1"])
def test_a_lock_without_a_pid_names_no_process(path: Path, text: str) -> None:
    held = PidFile()
    path.write_text(text)
    assert running_pid() is None
    held.remove()


def test_a_file_that_is_deleted_under_its_server_is_no_error(path: Path) -> None:
    held = PidFile()
    path.unlink()
    held.remove()


def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    assert running_pid() is None
    with pytest.raises(
        InvalidConfig,
        match=r"\.model_server\.pid can't be used: it is a symbolic link, not a regular file\. Remove it, or set TMPDIR",
    ):
        PidFile()
    assert victim.read_text() == "precious"


def test_a_folder_in_its_place(path: Path) -> None:
    path.mkdir()
    assert running_pid() is None
    with pytest.raises(InvalidConfig, match="can't be used: it is a folder, not a regular file"):
        PidFile()


def test_servers_that_come_and_go_at_once_never_hold_it_together(path: Path) -> None:
    """The file may be removed by its owner between another one's open and its lock."""
    holding: list[int] = []
    wrong: list[str] = []
    taken = 0
    refusals = 0
    count = threading.Lock()

    def server(number: int) -> None:
        nonlocal taken, refusals
        for _ in range(300):
            try:
                held = PidFile()
            except InvalidConfig:
                with count:
                    refusals += 1
                continue
            holding.append(number)
            if holding != [number] or running_pid() != os.getpid():
                wrong.append(f"{number} among {holding}")
            holding.remove(number)
            held.remove()
            with count:
                taken += 1

    threads = [threading.Thread(target=server, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert (taken + refusals, taken > 0) == (1200, True)
    assert not path.exists()


def test_an_orphan_is_removed_and_a_held_file_is_not(path: Path) -> None:
    assert not remove_orphan()
    path.write_text("99999999\n")
    assert remove_orphan()
    assert not path.exists()
    held = PidFile()
    assert not remove_orphan()
    assert running_pid() == os.getpid()
    assert open_paths(str(path)) == [str(path)]
    held.remove()


@pytest.mark.parametrize("variable", ["TEMP", "TMPDIR", "TMP"])
def test_a_temp_folder_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, f"{tmp_path}/nowhere")
    text = f"^Invalid temp directory: {tmp_path}/nowhere, please check {variable} environment variable.$"
    for ask in (pid_path, running_pid, PidFile):
        with pytest.raises(InvalidConfig, match=text):
            ask()
