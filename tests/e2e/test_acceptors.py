"""The real server with one process and with two that read predictions: the same answers, and what a killed one costs."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest

from .conftest import Serve
from .handlers import ECHO, RECORD
from .live import LiveServer, eventually, gone, make_model

TWO = "number_of_netty_threads=2"
pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="acceptors need a second core")
LARGE = bytes(range(256)) * 4096  # a MiB


def acceptors(server: LiveServer) -> list[psutil.Process]:
    family = psutil.Process(server.process.pid).children(recursive=True)
    return [process for process in family if "torchserve.http.acceptor" in process.cmdline()]


@pytest.fixture(scope="module", params=[1, 2])
def echo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    home = tmp_path_factory.mktemp("home")
    (home / "store").mkdir()
    for name in ("echo", "other"):
        make_model(home / "store", name, ECHO)
    properties = f"number_of_netty_threads={request.param}\nmax_request_size=2000000"
    server = LiveServer(home, ["echo"], properties=properties).wait()
    server.ready("echo")
    assert len(acceptors(server)) == (request.param if request.param > 1 else 0)
    yield server
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "said"),
    [
        ("/predictions/echo", b"hello", "text/plain", 200, b"hello"),
        ("/predictions/echo/1.0", b"", "text/plain", 200, b""),
        ("/predictions/echo", LARGE, "application/octet-stream", 200, LARGE),
        ("/predictions/echo", LARGE * 2, "application/octet-stream", 413, b"2000000"),
        ("/predictions/nobody", b"x", "text/plain", 404, b"Model not found: nobody"),
        ("/predictions/echo/9", b"x", "text/plain", 404, b"Model version: 9 does not exist for model: echo"),
        ("/predictions/echo", b"{", "application/json", 400, b"JSON"),
        ("/v1/models/echo:predict", b"x", "text/plain", 200, b"x"),
        ("/no/such/path", b"x", "text/plain", 404, b"ResourceNotFoundException"),
    ],
)
def test_each_conversation_on_many_connections(
    echo: LiveServer, path: str, body: bytes, kind: str, status: int, said: bytes
):
    for _ in range(6):  # whichever of them the kernel gives it to
        answer = echo.call("Inference", "POST", path, body, content_type=kind)
        assert answer.status == status
        assert answer.body == said if status == 200 else said in answer.body


def test_models_come_and_go_while_others_are_asked(echo: LiveServer):
    answers = [echo.later("echo", f"{number}") for number in range(50)]
    assert echo.manage("POST", "/models?url=other&initial_workers=1&synchronous=true").status == 200
    assert echo.predict("other", "there").body == b"there"
    assert echo.manage("PUT", "/models/echo?min_worker=2&synchronous=true").status == 200
    answers += [echo.later("other", f"{number}") for number in range(50)]
    assert [each.result().body for each in answers] == [b"%d" % number for number in range(50)] * 2
    assert echo.manage("DELETE", "/models/other").status == 200
    assert [echo.predict("other").status for _ in range(6)] == [404] * 6
    assert echo.call("Inference", "GET", "/ping").json == {"status": "Healthy"}
    assert echo.call("Metrics", "GET", "/metrics").status == 200


def recording(serve: Serve, store: Path) -> tuple[LiveServer, Path]:
    """A model whose first batch waits for the file `gate`."""
    make_model(store, "record", RECORD, config="minWorkers: 1\nmaxWorkers: 1\nbatchSize: 1\n")
    seen = store.parent / "seen"
    seen.touch()
    server = serve("record", properties=TWO, env={"RECORD_HERE": str(seen)})
    server.ready("record")
    return server, seen


def test_a_killed_acceptor_costs_its_own_connections_and_no_other(serve: Serve, store: Path):
    server, seen = recording(serve, store)
    with ExitStack() as stack:
        clients: dict[int, http.client.HTTPConnection] = {}
        for number in range(16):
            client = stack.enter_context(
                closing(http.client.HTTPConnection("127.0.0.1", server.ports["Inference"], timeout=60))
            )
            client.request("POST", "/predictions/record", "wait" if not number else f"{number}")
            assert client.sock is not None
            clients[client.sock.getsockname()[1]] = client
            eventually(lambda sent=number + 1: sum(server.accepted("record")) == sent)
        victim, other = acceptors(server)
        lost, kept = ({c.raddr.port for c in each.net_connections() if c.raddr} for each in (victim, other))
        assert lost | kept == clients.keys()
        assert not lost & kept
        victim.send_signal(signal.SIGKILL)
        server.until_logged("an acceptor ended by itself, and its connections with it")
        for port in lost:
            with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                clients[port].getresponse()
        (seen.parent / "gate").touch()
        for port in kept:
            assert clients[port].getresponse().read()
            clients[port].request("POST", "/predictions/record", "again")
            assert clients[port].getresponse().read() == b"again"
    assert [server.predict("record", "new").body for _ in range(6)] == [b"new"] * 6
    eventually(lambda: len(acceptors(server)) == 2)
    assert server.stop() == 0
    access = (server.home / "logs" / "access_log.log").read_text()
    assert access.count('/unknown "POST /predictions/record HTTP/1.1" 500 ') == len(lost)
    assert access.count('POST /predictions/record HTTP/1.1" 200 ') == 2 * len(kept) + 6


def test_sigterm_finishes_what_both_have_accepted_and_leaves_nothing(serve: Serve, store: Path):
    server, seen = recording(serve, store)
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert len(acceptors(server)) == 2
    answers = [server.later("record", "wait")]
    eventually(seen.read_text)
    answers += [server.later("record", f"{number}") for number in range(11)]
    eventually(lambda: sum(server.accepted("record")) == 12)
    server.terminate()
    server.until_logged("Stopping: accepted requests are finished first")
    (seen.parent / "gate").touch()
    assert [answer.result().body for answer in answers] == [b"wait", *(b"%d" % number for number in range(11))]
    assert server.stop() == 0
    eventually(lambda: all(gone(process.pid) for process in family))
    assert list(server.temp.iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.ports["Inference"]))


def test_a_killed_server_takes_its_acceptors_with_it(serve: Serve, store: Path):
    server, _ = recording(serve, store)
    family = psutil.Process(server.process.pid).children(recursive=True)
    server.process.kill()
    server.process.wait()
    eventually(lambda: all(gone(process.pid) for process in family))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.ports["Inference"]))
