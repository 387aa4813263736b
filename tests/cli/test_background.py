"""A server in the background: its starter learns whether it serves, or in one line why not."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from torchserve.cli.background import Reporter, _ping, _wait_for_the_end, keeps_output, start_in_background
from torchserve.core.config.address import Address
from torchserve.core.errors import InvalidConfig

from ..ports import kept_ports

pytestmark = pytest.mark.usefixtures("temp")
PORTS = "".join(f"{face}_address=http://127.0.0.1:0\n" for face in ("inference", "management", "metrics"))
PORTS += "grpc_inference_port=0\ngrpc_management_port=0\n"


# ---- the child's side


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """What the process that started us would be told."""
    reading, writing = os.pipe()
    monkeypatch.setenv("TORCHSERVE_REPORT_FD", str(writing))

    def read() -> Any:
        with os.fdopen(reading, "rb") as pipe:
            return json.loads(pipe.read())

    return read


def test_ready_is_told_once_and_the_pipe_is_no_ones_then(told: Callable[[], Any]) -> None:
    reporter = Reporter()
    assert "TORCHSERVE_REPORT_FD" not in os.environ, "workers must not inherit it"
    assert reporter.in_background
    reporter.ready({"inference": "http://127.0.0.1:8080"}, ["m is not there"])
    reporter.failed("too late")
    assert told() == {"addresses": {"inference": "http://127.0.0.1:8080"}, "lacking": ["m is not there"]}
    assert reporter.in_background


def test_a_failure_is_told(told: Callable[[], Any]) -> None:
    Reporter().failed("the reason: é")
    assert told() == {"error": "the reason: é"}


def test_in_the_foreground_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHSERVE_REPORT_FD", raising=False)
    reporter = Reporter()
    assert not reporter.in_background
    reporter.ready({})
    reporter.failed("x")


# ---- the starter's side


@pytest.mark.parametrize(
    ("inference", "shown"),
    [
        ("http://127.0.0.1:0", r"http://127\.0\.0\.1:[1-9]\d*"),
        ("https://127.0.0.1:0", r"https://127\.0\.0\.1:[1-9]\d*"),
        ("unix:{here}/sock", "unix:{here}/sock"),
    ],
)
def test_a_start_that_succeeds(tmp_path: Path, inference: str, shown: str) -> None:
    (tmp_path / "store").mkdir()
    here = str(tmp_path)
    (tmp_path / "config.properties").write_text(f"{PORTS}inference_address={inference.format(here=here)}\n")
    said = start_in_background(["--start", "--ncs", "--model-store", "store"], tmp_path / "logs")
    first, *rest = said.splitlines()
    found = re.fullmatch(r"TorchServe is running \(pid (\d+)\) and healthy\.", first)
    assert found, said
    server = psutil.Process(int(found[1]))
    try:
        assert [line.split()[0] for line in rest] == [
            "inference", "management", "metrics", "grpc_inference", "grpc_management", "logs",
        ]  # fmt: skip
        assert re.fullmatch(shown.format(here=here) if "{" in shown else shown, rest[0].split()[1])
        assert all(re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", line.split()[1]) for line in rest[1:5])
        assert rest[5].split()[1] == str(tmp_path / "logs")
        assert os.getsid(server.pid) == server.pid, "a signal to our terminal must not reach it"
        assert server.environ().keys() >= {"TORCHSERVE_REPORT_FD"}
    finally:
        server.send_signal(signal.SIGTERM)
        os.waitpid(server.pid, 0)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--start", "--model-store", "nowhere"], "--model-store directory not found: nowhere"),
        (["--version"], "its process ended without giving a reason"),
        (["--nonsense"], "its process ended without giving a reason"),
    ],
)
def test_a_start_that_fails(tmp_path: Path, arguments: list[str], reason: str) -> None:
    before = psutil.Process().children()  # such as the tracker of resources that multiprocessing leaves behind
    with pytest.raises(InvalidConfig) as caught:
        start_in_background(arguments, tmp_path / "logs")
    assert caught.value.message == f"TorchServe did not start: {reason} (log: {tmp_path}/logs/ts_log.log)"
    assert psutil.Process().children() == before


def test_standard_output_that_the_server_keeps(tmp_path: Path) -> None:
    with ExitStack() as stack:
        reading, writing = os.pipe()
        main, terminal = pty.openpty()
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        stack.callback(theirs.close)
        for each in (reading, writing, main, terminal):
            stack.callback(os.close, each)
        file = stack.enter_context((tmp_path / "out").open("w"))
        nothing = stack.enter_context(Path(os.devnull).open("w"))
        assert not keeps_output(writing), "its reader would wait for the server's end"
        assert not keeps_output(terminal)
        assert keeps_output(file.fileno())
        assert keeps_output(ours.fileno())
        assert not keeps_output(nothing.fileno())
    assert not keeps_output(writing), "it is closed"


def test_what_it_printed_is_in_the_log(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig):
        start_in_background(["--nonsense"], tmp_path / "logs")
    assert "No such option" in (tmp_path / "logs" / "ts_log.log").read_text()


def test_a_log_folder_that_can_not_be_had_is_no_reason_not_to_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidConfig, match="--model-store directory not found"):
        start_in_background(["--start", "--model-store", "nowhere"], tmp_path / "file" / "logs")


class Stubborn:
    """A process that does not end before it is killed."""

    def __init__(self) -> None:
        self.story: list[str] = []

    def wait(self, timeout: float | None = None) -> int:
        self.story.append("wait" if timeout is None else "wait a while")
        if timeout is not None:
            raise subprocess.TimeoutExpired("server", timeout)
        return -9

    def kill(self) -> None:
        self.story.append("kill")


def test_a_failed_server_that_does_not_end_is_killed() -> None:
    stubborn = Stubborn()
    _wait_for_the_end(cast("subprocess.Popen[bytes]", stubborn))
    assert stubborn.story == ["wait a while", "kill", "wait"]


# ---- the first health check


@pytest.fixture
def pinged() -> Iterator[HTTPServer]:
    """A server that answers /ping with the status in its attribute `status`."""

    class Ping(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = cast(Any, self.server).status if self.path == "/ping" else 404
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Ping)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("status", "said"), [(200, "healthy"), (500, "not healthy yet"), (503, "not healthy yet")])
def test_health(pinged: HTTPServer, status: int, said: str) -> None:
    cast(Any, pinged).status = status
    assert _ping(Address("127.0.0.1", pinged.server_port)) == said


def test_nobody_answers() -> None:
    refused = r"started and does not answer at http://127\.0\.0\.1:\d+: .*refused"
    with kept_ports(1) as (port,), pytest.raises(InvalidConfig, match=refused):
        _ping(Address("127.0.0.1", port))
