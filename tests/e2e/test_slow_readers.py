"""Streamed answers that are read slowly, or not at all: whole ones, and what others have to wait for them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from .live import LiveServer, eventually, make_model

STREAM = """
from ts.handler_utils.utils import send_intermediate_predict_response
def handle(data, context):
    if data is None:
        return None
    for i in range(400):
        piece = bytes([i % 256]) * 100_000
        send_intermediate_predict_response([piece] * len(data), context.request_ids, "ok", 200, context)
    return [b"end"] * len(data)
"""
WHOLE = b"".join(b"186a0\r\n" + bytes([i % 256]) * 100_000 + b"\r\n" for i in range(400)) + b"3\r\nend\r\n0\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    home = tmp_path_factory.mktemp("home")
    (home / "store").mkdir()
    make_model(home / "store", "alone", STREAM, "minWorkers: 1\nmaxWorkers: 1\nresponseTimeout: 3\n")
    make_model(
        home / "store",
        "both",
        STREAM,
        "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\nmaxBatchDelay: 20000\nbatchPolicy: fixed\n",
    )
    running = LiveServer(home, ["alone", "both"]).wait()
    for model in ("alone", "both"):
        running.ready(model)
    yield running
    running.stop()


def ask(server: LiveServer, model: str) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", server.ports["Inference"]), timeout=60)
    made.sendall(f"POST /predictions/{model} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
    return made


def body(client: socket.socket) -> bytes:
    """All of a streamed answer's body, chunks as they came, or what came of it."""
    got = bytearray()
    while not got.endswith(b"\r\n0\r\n\r\n"):
        piece = client.recv(1 << 20)
        if not piece:
            break
        got += piece
    return bytes(got).partition(b"\r\n\r\n")[2]


def test_a_worker_waits_for_a_reader_for_longer_than_it_may_take_to_answer(server: LiveServer) -> None:
    (worker,) = server.workers("alone")
    with closing(ask(server, "alone")) as client:
        first = client.recv(1, socket.MSG_PEEK)
        assert first
        time.sleep(4)  # responseTimeout, which does not run while the worker waits for the client
        assert body(client) == WHOLE
    assert [each["pid"] for each in server.workers("alone")] == [worker["pid"]]
    with closing(ask(server, "alone")) as client:
        assert body(client) == WHOLE


def test_one_of_a_batch_that_reads_nothing_is_ended_and_the_other_has_its_answer(server: LiveServer) -> None:
    (worker,) = server.workers("both")
    with closing(ask(server, "both")) as deaf, closing(ask(server, "both")) as reader:
        assert body(reader) == WHOLE
        server.until_logged("a streamed answer was ended: its client")
        assert eventually(lambda: server.accepted("both") == (0, 0))
        with suppress(ConnectionResetError):
            assert body(deaf) != WHOLE
    assert [each["pid"] for each in server.workers("both")] == [worker["pid"]]
