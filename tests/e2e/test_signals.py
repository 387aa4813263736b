"""What each signal does to a real server, in each of its states: nothing that was accepted is lost, nothing is left."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from .conftest import Serve
from .handlers import PROBE
from .live import COMMAND, Gate, LiveServer, environment, eventually, gone, make_model

# Its model loads once the gate is open.
LOADING = """
import os, time

class Loading:
    def initialize(self, context):
        while not os.path.exists(os.environ["GATE"]):
            time.sleep(0.01)

    def handle(self, data, context):
        return ["ok"] * len(data)
"""
# Leaves a process behind that ends at once, and whose parent has gone.
ORPHANS = """
import os

def handle(data, context):
    if data is None:
        return None
    for _ in range(3):
        if os.fork() == 0:
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        os.wait()
    return ["ok"] * len(data)
"""


@pytest.fixture(autouse=True)
def _signals_as_in_a_terminal() -> Iterator[None]:
    """Have the servers find signals as a terminal leaves them: under nohup and in background jobs some are ignored."""
    some = (signal.SIGHUP, signal.SIGQUIT, signal.SIGINT)
    ignored = [each for each in some if signal.getsignal(each) is signal.SIG_IGN]
    for each in ignored:
        signal.signal(each, signal.SIG_DFL)
    yield
    for each in ignored:
        signal.signal(each, signal.SIG_IGN)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def test_what_only_tells_the_server_something_ends_nothing(serve: Serve, store: Path) -> None:
    make_model(store, "probe", PROBE)
    server = serve("probe")
    server.ready("probe")
    log = server.home / "logs" / "ts_log.log"
    for number, told in (
        (signal.SIGQUIT, "SIGQUIT: the stacks of all threads"),
        (signal.SIGHUP, "SIGHUP: the log files are opened anew"),
        (signal.SIGUSR1, "SIGUSR1: the log files are opened anew"),
        (signal.SIGUSR2, "SIGUSR2: nothing is done"),
    ):
        log.rename(log.with_suffix(f".{number.name}"))
        server.process.send_signal(number)
        server.until_logged(told)
        eventually(log.exists)
    server.process.send_signal(signal.SIGPIPE)
    assert server.predict("probe", "x").status == 200
    assert server.has_logged("File ")
    assert server.stop() == 0
    assert list(server.temp.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops(serve: Serve, store: Path, number: signal.Signals) -> None:
    make_model(store, "probe", PROBE)
    server = serve("probe")
    server.process.send_signal(number)
    assert server.process.wait(timeout=60) == 0
    assert list(server.temp.iterdir()) == []


@pytest.mark.parametrize("to", ["workers too", "server twice"])
def test_a_stop_that_is_said_more_than_once_loses_nothing(serve: Serve, store: Path, gate: Gate, to: str) -> None:
    """As systemd does, which signals all processes of a service, `timeout`, and two who stop it at the same time."""
    make_model(store, "probe", PROBE)
    server = serve("probe")
    server.ready("probe")
    running = server.later("probe", f"hold {gate} ")
    gate.reached()
    workers = [worker["pid"] for worker in server.workers("probe")]
    for pid in workers if to == "workers too" else []:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGHUP)
    server.terminate()
    server.until_logged("Stopping: accepted")
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGQUIT) if to == "server twice" else ():
        server.process.send_signal(number)
        server.until_logged(f"{number.name}: ")
    server.until_logged("already stopping" if to == "server twice" else "SIGTERM is for the server's process")
    gate.open()
    assert running.result().status == 200
    assert server.stop() == 0
    assert list(server.temp.iterdir()) == []


def test_somebody_at_a_keyboard_need_not_wait(serve: Serve, store: Path, gate: Gate) -> None:
    make_model(store, "probe", PROBE)
    server = serve("probe")
    server.ready("probe")
    server.later("probe", f"hold {gate} ")
    gate.reached()
    family = psutil.Process(server.process.pid).children(recursive=True)

    def interrupted() -> bool:
        server.process.send_signal(signal.SIGINT)
        return server.process.poll() is not None

    eventually(interrupted)
    assert server.process.returncode == 1
    assert server.has_logged("Second signal: ending at once")
    eventually(lambda: all(gone(process.pid) for process in family))
    assert list(server.temp.glob("torchserve-*")) == []


def test_who_waits_for_a_model_that_still_loads_is_answered(serve: Serve, store: Path, gate: Gate) -> None:
    make_model(store, "loading", LOADING)
    make_model(store, "further", LOADING)
    server = serve("loading", properties="drain_timeout=8", env={"GATE": str(gate)})
    waiting = server.later("loading", "x")
    eventually(lambda: server.accepted("loading") == (0, 1))
    registering = server._clients.submit(
        server.manage, "POST", "/models?url=further&initial_workers=1&synchronous=true"
    )
    eventually(lambda: "further" in server.manage("GET", "/models").body.decode())
    server.terminate()
    answer = waiting.result()
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert 'The server is stopping, and Model "loading" version 1.0 can\'t answer' in answer.message
    assert registering.result().status == 503
    assert server.stop() == 0
    assert not server.has_logged("requests without an answer")
    assert list(server.temp.iterdir()) == []


def test_a_worker_that_comes_up_in_time_serves_who_waits_for_it(serve: Serve, store: Path, gate: Gate) -> None:
    make_model(store, "loading", LOADING)
    server = serve("loading", properties="drain_timeout=600", env={"GATE": str(gate)})
    waiting = server.later("loading", "x")
    eventually(lambda: server.accepted("loading") == (0, 1))
    server.terminate()
    server.until_logged("Stopping: accepted")
    gate.open()
    assert waiting.result().status in {200, 503}, "503 on a machine on which a worker takes 5 s to come up"
    assert server.stop() == 0


def test_what_takes_longer_than_a_stop_may_is_refused(serve: Serve, store: Path, gate: Gate) -> None:
    make_model(store, "probe", PROBE, config="minWorkers: 1\nmaxWorkers: 1\nbatchSize: 1\n")
    server = serve("probe", properties="drain_timeout=1")
    server.ready("probe")
    answers = [server.later("probe", f"hold {gate} ")]
    gate.reached()
    answers.append(server.later("probe", "behind it"))
    eventually(lambda: server.accepted("probe") == (1, 1))
    server.terminate()
    for answer in answers:
        assert (answer.result().status, answer.result().headers.get("retry-after")) == (503, "5")
    assert server.stop() == 0
    assert list(server.temp.iterdir()) == []


def test_a_server_that_was_stopped_by_ctrl_z_goes_on(serve: Serve, store: Path) -> None:
    make_model(store, "probe", PROBE)
    server = serve("probe")
    server.ready("probe")
    server.process.send_signal(signal.SIGSTOP)  # Ctrl-Z's own does nothing to an orphaned process group
    process = psutil.Process(server.process.pid)
    eventually(lambda: process.status() == psutil.STATUS_STOPPED)
    waiting = server.later("probe", "x")
    server.process.send_signal(signal.SIGCONT)
    assert waiting.result().status == 200


# ---- terminals


@contextmanager
def in_terminal(home: Path, ignored: str = "") -> Iterator[tuple[LiveServer, int]]:
    """A server in the foreground of a terminal of its own, and the terminal's other end, to be closed."""
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    # The session's leader opens the terminal, which so becomes its own.
    under = ["setsid", "--wait", "sh", "-c", f'{ignored}exec "$@" <{name}', "sh"]
    server = LiveServer(home, ["probe"], inside=lambda command: [*under, *command])
    os.close(slave)
    try:
        yield server.wait(), master
    finally:
        if server.process.poll() is None:
            os.kill(pid_of(server), signal.SIGKILL)
        server.stop()


def pid_of(server: LiveServer) -> int:
    return int((server.temp / ".model_server.pid").read_text())


@pytest.mark.skipif(not shutil.which("setsid"), reason="needs setsid")
def test_a_server_whose_terminal_is_closed_answers_and_ends(store: Path, tmp_path: Path, gate: Gate) -> None:
    make_model(store, "probe", PROBE)
    with in_terminal(tmp_path) as (server, master):
        server.ready("probe")
        running = server.later("probe", f"hold {gate} ")
        gate.reached()
        os.close(master)
        server.until_logged("SIGHUP: stopping")
        gate.open()
        assert running.result().status == 200
        assert server.process.wait(timeout=60) == 0
    assert list(server.temp.iterdir()) == []


@pytest.mark.skipif(not shutil.which("setsid"), reason="needs setsid")
def test_with_nohup_a_closed_terminal_is_nothing(store: Path, tmp_path: Path) -> None:
    make_model(store, "probe", PROBE)
    with in_terminal(tmp_path, ignored="trap '' HUP; ") as (server, master):
        server.ready("probe")
        os.close(master)
        os.kill(pid_of(server), signal.SIGHUP)
        assert server.predict("probe", "x").status == 200
        os.kill(pid_of(server), signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
        assert not server.has_logged("SIGHUP")


# ---- before it has started


@contextmanager
def endless_download() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    held: list[socket.socket] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def hold() -> None:
            try:
                while True:
                    held.append(listening.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=10)
    for each in held:
        each.close()


def starting(home: Path, port: int, *flags: str) -> subprocess.Popen[str]:
    config = home / "c.properties"
    addresses = "".join(f"{face}_address=http://127.0.0.1:0\n" for face in ("inference", "management", "metrics"))
    config.write_text(f"{addresses}allowed_urls=http://127.0.0.1.*\ngpu_lease_folder={home}/leases\n")
    (home / "store").mkdir(exist_ok=True)
    return subprocess.Popen(
        [*COMMAND, "--start", *flags, "--ncs", "--ts-config", str(config), "--model-store", "store",
         "--models", f"http://127.0.0.1:{port}/m.mar"],
        cwd=home, env=environment(home), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def until_it_downloads(home: Path) -> int:
    """The pid of the server that has begun to start."""
    pid = home / "tmp" / ".model_server.pid"
    eventually(lambda: pid.exists() and pid.read_text().strip())
    eventually(lambda: list((home / "store").glob(".*.part")))
    eventually(lambda: psutil.Process(int(pid.read_text())).net_connections())
    return int(pid.read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_in_the_foreground_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    with endless_download() as port, starting(tmp_path, port, "--foreground") as server:
        until_it_downloads(tmp_path)
        server.send_signal(number)
        assert server.wait(timeout=60) == 0
    assert list((tmp_path / "tmp").iterdir()) == list((tmp_path / "store").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_stops_the_starter_stops_the_start(tmp_path: Path, number: signal.Signals) -> None:
    with endless_download() as port, starting(tmp_path, port) as starter:
        pid = until_it_downloads(tmp_path)
        starter.send_signal(number)
        assert starter.wait(timeout=60) == 128 + number
        assert starter.stdout is not None
        assert starter.stdout.read() == f"{number.name}: TorchServe was stopped before it had started.\n"
        assert gone(pid)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_start_outlives_the_starters_terminal_and_is_stopped_by_its_command(tmp_path: Path) -> None:
    with endless_download() as port, starting(tmp_path, port) as starter:
        pid = until_it_downloads(tmp_path)
        starter.send_signal(signal.SIGHUP)
        starter.wait(timeout=60)
        assert not gone(pid)
        done = subprocess.run(
            [*COMMAND, "--stop"], cwd=tmp_path, env=environment(tmp_path), check=True, stdout=subprocess.PIPE, text=True
        )
        assert done.stdout.endswith("TorchServe has stopped.\n")
        assert gone(pid)
    assert list((tmp_path / "tmp").iterdir()) == []


# ---- the first process of a container


def test_as_the_first_process_it_reaps_orphans_and_passes_signals_on(store: Path, tmp_path: Path) -> None:
    make_model(store, "orphans", ORPHANS)
    under = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "--pid", "--fork", "--mount-proc", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*under, "true"], check=False).returncode:
        pytest.skip("this system lets nobody make a namespace")
    server = LiveServer(tmp_path, ["orphans"], inside=lambda command: [*under, *command], start=["--start"])
    try:
        server.wait()
        server.ready("orphans")
        (first,) = psutil.Process(server.process.pid).children()
        assert server.predict("orphans", "x").body == b"ok"
        assert "org.pytorch.serve.ModelServer" not in first.cmdline(), "toolkits look for one such process"
        eventually(lambda: len(first.children()) == 1)  # the orphans are its own, until it has reaped them
        (child,) = first.children()
        assert "org.pytorch.serve.ModelServer" in child.cmdline()
        first.send_signal(signal.SIGQUIT)
        server.until_logged("SIGQUIT: the stacks")
        first.send_signal(signal.SIGTERM)
        server.until_logged("Torchserve stopped.")
        assert server.process.wait(timeout=60) == 0
        assert list(server.temp.iterdir()) == []
    finally:
        server.stop()
