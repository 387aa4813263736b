"""What other users of the machine lay in the temp folder and the working folder: never waited for, never acted on.

Where it takes another owner, the rows are run as root, as CI does; the FIFOs and links are run by everybody.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from torchserve.cli.main import main
from torchserve.cli.pidfile import PidFile, holder, remove_orphan, running_pid
from torchserve.cli.runtime_file import find_running_server, write_runtime_file
from torchserve.cli.start import StartFlags, _configuration, read_for_start
from torchserve.cli.target import find_target
from torchserve.core.config.saved_models import SavedModels
from torchserve.core.errors import InvalidConfig
from torchserve.core.models.snapshot import Snapshot
from torchserve.core.models.snapshot_folder import SnapshotFolder

OTHER = 54321
NOW = 1_795_430_838_908
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes files of another user")


@pytest.fixture(autouse=True)
def pid_file(temp: Path) -> Path:
    return temp / ".model_server.pid"


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    yield from process()


@pytest.fixture
def theirs() -> Iterator[subprocess.Popen[bytes]]:
    yield from process(OTHER)


def process(user: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "3600"], user=user) as child:
        yield child
        child.kill()


def lay(path: Path, text: str, owner: int, mode: int = 0o644) -> int:
    """Have `path` be a locked file of another user; the descriptor that holds the lock."""
    path.write_text(text)
    path.chmod(mode)
    held = os.open(path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    os.chown(path, owner, owner)
    return held


@as_root
def test_root_s_stop_ends_no_process_that_another_user_names(pid_file: Path, victim: subprocess.Popen[bytes]) -> None:
    held = lay(pid_file, f"{victim.pid}\n", OTHER)
    result = CliRunner().invoke(main, ["--stop"])
    os.close(held)
    assert result.exit_code == 1
    assert "is not believed: it belongs to user 54321 and names process" in result.stderr
    assert victim.poll() is None


@as_root
def test_root_s_stop_ends_a_server_of_another_user(pid_file: Path, theirs: subprocess.Popen[bytes]) -> None:
    """As `sudo torchserve --stop` and `docker exec` do: they could have ended it themselves."""
    held = lay(pid_file, f"{theirs.pid}\n", OTHER)
    result = CliRunner().invoke(main, ["--stop"])
    os.close(held)
    assert (result.exit_code, theirs.wait()) == (0, -signal.SIGTERM)


def test_a_pid_file_that_everybody_may_write_names_nobody(pid_file: Path, victim: subprocess.Popen[bytes]) -> None:
    held = lay(pid_file, f"{victim.pid}\n", os.geteuid(), 0o666)
    assert (running_pid(), CliRunner().invoke(main, ["--stop"]).exit_code, victim.poll()) == (None, 0, None)
    with pytest.raises(InvalidConfig, match=r"every user may write to it \(mode 666\)\. Remove it, or set TMPDIR"):
        PidFile()
    os.close(held)


@as_root
@pytest.mark.parametrize("ask", [PidFile, lambda: _configuration(StartFlags(), None)])
def test_a_start_says_whose_pid_file_is_in_its_way(pid_file: Path, ask: Callable[[], object]) -> None:
    held = lay(pid_file, f"{os.getpid()}\n", OTHER)
    with pytest.raises(InvalidConfig, match=r"^A process of user 54321 holds .* Set TMPDIR to a folder of your own"):
        ask()
    os.close(held)


@as_root
def test_what_nobody_holds_is_removed_whoever_left_it(pid_file: Path) -> None:
    os.close(lay(pid_file, "1\n", OTHER))
    with pytest.raises(InvalidConfig, match=r"belongs to user 54321.*Remove it, or set TMPDIR"):
        PidFile()
    assert remove_orphan()
    PidFile().remove()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("make", [fifo, link, Path.mkdir])
def test_nothing_waits_for_what_is_in_the_pid_file_s_place(pid_file: Path, make: Callable[[Path], None]) -> None:
    make(pid_file)
    assert (running_pid(), holder(), find_running_server(), remove_orphan()) == (None, None, None, False)
    result = CliRunner().invoke(main, ["--stop"])
    assert (result.exit_code, result.stdout) == (0, "TorchServe is not currently running.\n")
    with pytest.raises(InvalidConfig, match=r"not a regular file. Remove it, or set TMPDIR to a folder of your own"):
        PidFile()


@pytest.mark.parametrize("make", [fifo, link, Path.mkdir])
def test_nothing_waits_for_what_is_in_the_run_time_file_s_place(temp: Path, make: Callable[[Path], None]) -> None:
    held = PidFile()
    make(temp / ".model_server.pid.json")
    found = find_running_server()
    assert found is not None
    assert found.foreign
    held.remove()


@as_root
@pytest.mark.parametrize("wrong", ["the pid file", "the run-time file"])
def test_no_key_goes_where_another_user_says(pid_file: Path, temp: Path, wrong: str) -> None:
    held = PidFile()
    write_runtime_file({"management": "http://127.0.0.1:8081"}, None)
    assert find_target().source == "the running server"
    os.chown(pid_file if wrong == "the pid file" else temp / ".model_server.pid.json", OTHER, OTHER)
    with pytest.raises(Exception, match="another user's: name its address with --management"):
        find_target()
    held.remove()


def test_a_key_file_that_is_a_fifo_is_no_key(temp: Path, tmp_path: Path) -> None:
    held = PidFile()
    os.mkfifo(tmp_path / "key_file.json")
    write_runtime_file({"management": "http://127.0.0.1:8081"}, tmp_path / "key_file.json")
    assert find_target().token == ""
    held.remove()


@as_root
def test_a_configuration_of_another_user_has_to_be_named(tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    file.write_text("python=/tmp/evil\n")
    os.chown(file, OTHER, OTHER)
    text = "config.properties is not believed unasked: it belongs to user 54321.*Name it with --ts-config"
    for ask in (lambda: read_for_start(None, None, []), find_target):
        with pytest.raises(Exception, match=text):
            ask()
    assert read_for_start(file, None, []).settings.python == "/tmp/evil"


def test_a_configuration_by_a_link_of_ours(tmp_path: Path) -> None:
    """As Kubernetes lays ConfigMaps into a folder."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "config.properties").write_text("job_queue_size=7\n")
    (tmp_path / "config.properties").symlink_to("..data/config.properties")
    assert read_for_start(None, None, []).settings.job_queue_size == 7


@as_root
def test_a_snapshot_of_another_user_is_passed_over_and_said(tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path / "logs" / "config")
    ours = folder.write(Snapshot({"job_queue_size": "7"}, SavedModels()), "snapshot", NOW)
    evil = folder.write(Snapshot({"python": "/tmp/evil"}, SavedModels()), "snapshot", NOW + 5)
    os.chown(evil, OTHER, OTHER)
    found = read_for_start(None, folder, [])
    assert (found.path, found.settings.job_queue_size, found.settings.python) == (ours, 7, None)
    (said,) = [each.message for each in found.findings if each.name == "warning"]
    assert said.startswith(f"{evil} is not believed: it belongs to user 54321")
    assert said.endswith("Name it with --ts-config if it is meant.")
    ours.unlink()
    assert read_for_start(None, folder, []).path is None
    assert read_for_start(evil, folder, []).settings.python == "/tmp/evil"


@as_root
def test_a_snapshot_that_changes_hands_after_the_choice_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SnapshotFolder(tmp_path / "logs" / "config")
    path = folder.write(Snapshot({"python": "/tmp/evil"}, SavedModels()), "snapshot", NOW)
    newest = folder.newest()
    os.chown(path, OTHER, OTHER)
    monkeypatch.setattr(folder, "newest", lambda: newest)
    with pytest.raises(InvalidConfig, match="is not believed unasked"):
        read_for_start(None, folder, [])


def test_a_fifo_among_the_snapshots_hangs_neither_start_nor_save(tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path / "logs" / "config")
    folder.path.mkdir(parents=True)
    os.mkfifo(folder.path / "29991123104718907-snapshot.cfg")
    path = folder.write(Snapshot({}, SavedModels()), "snapshot", NOW)
    assert (folder.newest(), len(folder.distrusted)) == (path, 1)


@as_root
def test_snapshots_are_not_written_where_a_link_of_another_user_leads(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "logs").symlink_to("etc")
    folder = SnapshotFolder(tmp_path / "logs" / "config")
    assert folder.write(Snapshot({}, SavedModels()), "snapshot", NOW).exists(), "our own link is meant"
    os.lchown(tmp_path / "logs", OTHER, OTHER)
    with pytest.raises(OSError, match="it is a symbolic link of user 54321"):
        folder.write(Snapshot({}, SavedModels()), "snapshot", NOW + 5)
    assert len(list((tmp_path / "etc" / "config").iterdir())) == 1


def test_a_start_in_the_background_waits_for_no_fifo_among_the_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").mkdir()
    os.mkfifo(tmp_path / "logs" / "ts_log.log")
    monkeypatch.setattr("sys.argv", ["torchserve", "--start", "--model-store", "gone"])
    (tmp_path / "store").mkdir()
    result = CliRunner().invoke(main, ["--start", "--model-store", "store"])
    assert (result.exit_code, "--model-store directory not found: gone" in result.stderr) == (1, True)


def test_the_run_time_file_is_not_written_through_a_link(temp: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (temp / ".model_server.pid.json").symlink_to(tmp_path / "victim")
    write_runtime_file({"management": "http://127.0.0.1:8081"}, None)
    assert (tmp_path / "victim").read_text() == "precious"
    assert json.loads((temp / ".model_server.pid.json").read_text())["pid"] == os.getpid()
