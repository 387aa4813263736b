"""systemd's side of the server: it is told how the server fares, and its sockets are served."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .live import LiveServer

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
# What systemd does between fork and exec.
ACTIVATE = """
import os, socket, sys
listening = socket.create_server(("127.0.0.1", 0))
os.dup2(listening.fileno(), 3, inheritable=True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "PASSED": str(listening.getsockname()[1])}
config = sys.argv[1]
with open(config, "a") as file:
    file.write(f"inference_address=http://127.0.0.1:{listening.getsockname()[1]}")
os.execvp(sys.argv[2], sys.argv[2:])
"""


def test_it_is_told_all_states_and_passes_a_socket(tmp_path: Path, store: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)

        def until_told(line: str) -> list[str]:
            while line not in (told := systemd.recv(65536).decode().split("\n")):
                pass
            return told

        server = LiveServer(
            tmp_path, (), env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"},
            inside=lambda command: [sys.executable, "-P", "-c", ACTIVATE, str(tmp_path / "config.properties"), *command],
        )  # fmt: skip
        try:
            assert until_told("READY=1") == ["READY=1", "STATUS=Serving 0 models"]
            server.wait()
            assert server.call("Inference", "GET", "/ping").status == 200
            until_told("WATCHDOG=1")
            server.process.send_signal(signal.SIGUSR1)
            assert until_told("RELOADING=1")[1].startswith("MONOTONIC_USEC=")
            assert until_told("READY=1")
            server.terminate()
            assert until_told("STOPPING=1") == ["STOPPING=1", "STATUS=Answering what was accepted"]
        finally:
            assert server.stop() == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_units_are_understood(tmp_path: Path) -> None:
    for unit in UNITS.glob("torchserve.*"):
        if unit.is_file():
            (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/torchserve/bin/torchserve", "/bin/true"))
    units = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if str(tmp_path) in line] == []
    assert len(units) == 2
