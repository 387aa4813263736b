"""What a server inherits: from starters that close, block and ignore, and from environments; and what its workers get."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from .handlers import PROBE
from .live import COMMAND, LiveServer, environment, make_model

# As daemons, cron and CI runners start programs, all at once.
CARELESS = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.closerange(0, 3)
os.umask(0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
SHOWS = """
import os, sys
print("geladen: Größe ✓")

def handle(data, context):
    return [{"path": sys.path, "environment": dict(os.environ), "cwd": os.getcwd()} for _ in data or ()]
"""


def status(pid: int, name: str) -> int:
    """A line of /proc/PID/status that holds a set of signals."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")), 16)


def test_a_starter_that_has_closed_its_streams_and_blocked_all_signals(tmp_path: Path, store: Path) -> None:
    make_model(store, "probe", PROBE)
    config = tmp_path / "config.properties"
    config.write_text("".join(f"{api}_address=http://127.0.0.1:0\n" for api in ("inference", "management", "metrics")))
    env = environment(tmp_path)
    command = [
        *COMMAND,
        "--start",
        "--ncs",
        "--model-store",
        str(store),
        "--models",
        "probe",
        "--ts-config",
        str(config),
    ]
    started = subprocess.run([sys.executable, "-P", "-c", CARELESS, *command], env=env, cwd=tmp_path, check=False)
    try:
        assert started.returncode == 0, (tmp_path / "logs" / "ts_log.log").read_text()
        told = json.loads((tmp_path / "tmp" / ".model_server.pid.json").read_text())
        assert not any("socket" in os.readlink(f"/proc/{told['pid']}/fd/{number}") for number in range(3))
        assert [path.name for path in (tmp_path / "tmp").iterdir() if path.stat().st_mode & 0o022] == [], (
            "others' to write"
        )
        address = told["addresses"]["inference"].removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=60)
        connection.request("POST", "/predictions/probe", b"hello", {"Content-Type": "text/plain"})
        worker = json.loads(connection.getresponse().read())["pid"]
        for process in (told["pid"], worker):
            assert status(process, "SigBlk") == 0
            assert not status(process, "SigIgn") & 1 << (signal.SIGCHLD - 1)
        connection.request("POST", "/predictions/probe", b"kill", {"Content-Type": "text/plain"})
        assert b"was killed by SIGKILL" in connection.getresponse().read()
        connection.close()
    finally:
        stopped = subprocess.run(
            [*COMMAND, "--stop"], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert stopped.stdout.endswith("TorchServe has stopped.\n")


def test_a_start_in_a_folder_that_is_gone_is_one_line(tmp_path: Path, store: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    enter = f"import os, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); os.execvp(sys.argv[1], sys.argv[1:])"
    for mode in ([], ["--foreground"]):
        gone.mkdir(exist_ok=True)
        command = [sys.executable, "-P", "-c", enter, *COMMAND, "--start", *mode, "--ncs", "--model-store", str(store)]
        done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(
            "The working folder can't be used: No such file or directory. It has been deleted"
        )
        assert done.stderr.count("\n") == 1


def test_a_locale_without_letters_and_a_module_path_with_a_gap(tmp_path: Path, store: Path) -> None:
    """`export PYTHONPATH=$PYTHONPATH:/more` leaves an empty entry, which is the working folder."""
    make_model(store, "modèle", SHOWS)
    (tmp_path / "yaml.py").write_text("raise RuntimeError('this is not the library')\n")
    (tmp_path / "more").mkdir()
    env = {
        "PYTHONINSPECT": "1",
        "PYTHONPATH": f":{tmp_path}/more",
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "PYTHONWARNINGS": "default",
    }
    server = LiveServer(tmp_path, ["modèle"], env=env, inside=lambda command: [command[0], "-P", *command[1:]])
    try:
        server.wait()
        server.ready("mod%C3%A8le")
        answer = server.predict("mod%C3%A8le").json
        assert f"{tmp_path}/more" in answer["path"]
        assert str(tmp_path) not in answer["path"]
        assert (answer["environment"]["PYTHONPATH"], answer["environment"]["PYTHONWARNINGS"]) == (
            env["PYTHONPATH"][1:],
            "default",
        )
        assert answer["cwd"] == str(store / "modèle"), "as in TorchServe"
        server.until_logged("W-9000-mod\\xe8le_1.0")
        log = (tmp_path / "logs" / "model_log.log").read_text(encoding="utf-8")
        assert "W-9000-modèle_1.0-stdout MODEL_LOG - geladen: Größe ✓" in log
        assert not server.has_logged("takes no lines")
    finally:
        assert server.stop() == 0
