"""https and unix addresses of a real server: predictions and management through them, and what is left at the end."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from torchserve.cli.connection import connection_to
from torchserve.core.config.address import parse_address

from .conftest import Serve
from .handlers import ECHO
from .live import LiveServer, eventually, make_model


def ask(server: LiveServer, api: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    (line,) = (line for line in server.lines if f"{api} API bind to: " in line)
    connection = connection_to(parse_address(line.partition("API bind to: ")[2]))
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_inference_by_tls_and_management_by_a_unix_socket(serve: Serve, store: Path, tmp_path: Path):
    make_model(store, "echo", ECHO)
    sock = tmp_path / "m.sock"
    server = serve("echo", properties=f"inference_address=https://127.0.0.1:0\nmanagement_address=unix:{sock}")
    assert ask(server, "Inference", "POST", "/predictions/echo", b"x") == (200, b"x")
    status, body = ask(server, "Management", "GET", "/models")
    assert (status, json.loads(body)["models"][0]["modelName"]) == (200, "echo")
    assert server.has_logged("with a certificate made at the start")
    assert server.stop() == 0
    assert not sock.exists()


def test_all_on_one_unix_socket_that_a_killed_server_left(serve: Serve, store: Path, tmp_path: Path):
    make_model(store, "echo", ECHO)
    sock = tmp_path / "s"
    addresses = "\n".join(f"{api}_address=unix:{sock}" for api in ("inference", "management", "metrics"))
    killed = serve("echo", properties=addresses)
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    assert sock.is_socket()
    server = serve("echo", properties=addresses)
    eventually(lambda: ask(server, "Inference", "POST", "/predictions/echo", b"x") == (200, b"x"))
    assert ask(server, "Metrics", "GET", "/metrics")[0] == 200
    assert ask(server, "Management", "GET", "/models/echo")[0] == 200
