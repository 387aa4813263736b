"""The end of a server: for how long it accepts, and what it does not wait for."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

from .conftest import Serve
from .handlers import ECHO
from .live import eventually, make_model


def test_connections_are_accepted_for_the_drain_delay_while_readiness_is_gone(serve: Serve, store: Path) -> None:
    make_model(store, "echo", ECHO)
    server = serve("echo", properties="drain_delay=5")
    server.ready("echo")
    server.terminate()
    server.until_logged("(drain_delay)")
    assert server.call("Inference", "GET", "/health/ready").status == 503
    assert server.call("Inference", "GET", "/ping").status == 500
    assert server.predict("echo", b"new connection").body == b"new connection"
    assert eventually(lambda: server.process.poll() is not None)


def test_a_body_that_stalls_does_not_hold_up_the_stop(serve: Serve, store: Path) -> None:
    make_model(store, "echo", ECHO)
    server = serve("echo")
    server.ready("echo")
    port = server.ports["Inference"]
    with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as client:
        client.sendall(b"POST /predictions/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        server.predict("echo", b"x")  # read behind it
        server.terminate()
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
        assert eventually(lambda: server.process.poll() is not None)
    assert not server.has_logged("requests without an answer after")
