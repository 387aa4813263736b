"""Sandboxes and Pythons without the newer system calls: everything works, by other means."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..standins import seccomp
from .handlers import PROBE
from .live import COMMAND, LiveServer, eventually, gone, make_model

needs_filters = pytest.mark.skipif(not seccomp.available(), reason="needs seccomp, on x86-64 or ARM64")

NEWER = (
    "close_range fallocate io_uring_setup madvise:2:9 memfd_create pidfd_open pidfd_send_signal prctl:0:1 prlimit64"
    " sched_getaffinity sched_setaffinity statx"
).split()
# The options and values that the C library's headers gave Python a name for, or not.
WITHOUT_NAMES = """
import fcntl, os, signal
for module, prefixes in ((os, ("pidfd", "memfd", "MFD_")), (signal, ("pidfd",)), (fcntl, ("F_ADD_SEALS", "F_GET_SEALS", "F_SEAL"))):
    for name in [name for name in dir(module) if name.startswith(prefixes)]:
        delattr(module, name)
"""


def lives(server: LiveServer, inside: Callable[[list[str]], list[str]]) -> None:
    """Have a server do once each what needs the newer calls."""
    server.wait()
    server.ready("probe")
    assert len(server.predict("probe", "big 3000000").body) == 3_000_000
    worker = server.predict("probe", "x" * 3_000_000).json["pid"]
    assert server.predict("probe", "kill").status == 507, "its end is noticed"
    server.ready("probe")
    another = server.predict("probe", "hello").json["pid"]
    assert gone(worker)
    stopped = subprocess.run(
        inside([*COMMAND, "--stop"]), env=server.env, cwd=server.home, capture_output=True, text=True, check=False
    )
    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stdout.endswith("TorchServe has stopped.\n")
    assert (server.stop(), gone(another)) == (0, True)


@needs_filters
@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_where_newer_calls_are_refused(tmp_path: Path, store: Path, error: str) -> None:
    make_model(store, "probe", PROBE)
    inside = functools.partial(seccomp.sandboxed, [f"{call}={error}" for call in NEWER])
    server = LiveServer(tmp_path, ["probe"], inside=inside)
    try:
        lives(server, inside)
        assert server.has_logged("large bodies go over the workers' sockets")
        assert server.has_logged("the limit of open files can't be read, and stays")
    finally:
        server.stop()


def test_where_python_has_no_names_for_newer_calls(tmp_path: Path, store: Path) -> None:
    """As in builds of conda and others, which are made with old headers so that they run anywhere."""
    make_model(store, "probe", PROBE)
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_NAMES)
    server = LiveServer(tmp_path, ["probe"], env={"PYTHONPATH": str(tmp_path)})
    try:
        lives(server, list)
        assert not server.has_logged("large bodies go over the workers' sockets"), "the C library has the call"
    finally:
        server.stop()


@needs_filters
def test_a_server_that_is_killed_takes_its_workers_along(tmp_path: Path, store: Path) -> None:
    make_model(store, "probe", PROBE)
    inside = functools.partial(seccomp.sandboxed, ["prctl:0:1=EPERM"])
    server = LiveServer(tmp_path, ["probe"], inside=inside)
    try:
        server.wait()
        server.ready("probe")
        worker = server.predict("probe", "hello").json["pid"]
        busy = server.later("probe", "sleep 1000")  # else it sees that its connection ends
        eventually(lambda: server.accepted("probe")[0] == 1)
        server.process.send_signal(signal.SIGKILL)
        eventually(lambda: gone(worker))
        assert busy.exception() is not None
    finally:
        server.stop()


@needs_filters
@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_a_stop_where_only_the_signal_is_refused(tmp_path: Path, store: Path, error: str) -> None:
    assert store.is_dir()
    server = LiveServer(tmp_path, [])
    try:
        server.wait()
        command = seccomp.sandboxed([f"pidfd_send_signal={error}"], [*COMMAND, "--stop"])
        done = subprocess.run(command, env=server.env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("TorchServe has stopped.\n")
    finally:
        assert server.stop() == 0


@needs_filters
def test_without_locks_one_line_says_so(tmp_path: Path, store: Path) -> None:
    server = LiveServer(tmp_path, [])
    try:
        server.wait()
        for command in ([*COMMAND, "--stop"], [*COMMAND, "--start", "--model-store", str(store)]):
            done = subprocess.run(
                seccomp.sandboxed(["flock=ENOLCK"], command),
                env=server.env, cwd=tmp_path, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
            assert f"The pid file {server.temp}/.model_server.pid can't be locked: No locks available." in done.stderr
    finally:
        server.stop()


@needs_filters
def test_a_start_that_breaks_down_says_in_one_line_what_broke(tmp_path: Path, store: Path) -> None:
    (store.parent / "c.properties").write_text("inference_address=http://127.0.0.1:0\n")
    env = {**os.environ, "TMPDIR": str(tmp_path), "LOG_LOCATION": str(tmp_path / "logs")}
    command = [*COMMAND, "--start", "--ncs", "--model-store", str(store), "--ts-config", str(tmp_path / "c.properties")]
    done = subprocess.run(
        seccomp.sandboxed(["epoll_create1=EMFILE"], command), env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("TorchServe did not start: ")
    assert "Too many open files" in done.stderr
    assert "Traceback" in (tmp_path / "logs" / "ts_log.log").read_text()


@needs_filters
def test_the_sandbox_of_these_tests_refuses_what_it_is_told() -> None:
    code = "import os\ntry: os.pidfd_open(1)\nexcept OSError as error: print(error.errno)"
    done = subprocess.run(
        seccomp.sandboxed(["pidfd_open=ENOTTY"], [sys.executable, "-c", code]), capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout == "25\n"
