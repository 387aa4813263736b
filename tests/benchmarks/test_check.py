"""Answers are compared as bytes, or as JSON with some room for arithmetic; a wrong one stops the measurement."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.check import Checker, WrongAnswerError, post
from benchmarks.protocol_adapter import JSON_LISTS, RAW_TENSORS
from benchmarks.servers import properties
from benchmarks.workload import UnavailableError, Workload, echo, same_best
from torchserve.cli.loadgen.checks import same


@pytest.mark.parametrize(
    ("answer", "expected", "equal"),
    [
        (b"fox", b"fox", True),
        (b"fox", b"dog", False),
        (b'{"7": 0.9991}', b'{\n  "7": 0.9990\n}', True),
        (b'{"7": 0.99}', b'{"7": 0.90}', False),
        (b'{"7": 0.99}', b'{"8": 0.99}', False),
        (b"[1.0, 2.0]", b"[1.0]", False),
        (b"7", b"7.0", True),
        (b"7", b"8", False),
        (b"true", b"1", False),
        (b"", b"7", False),
        (b'"7"', b"7", False),
        (b"nan", b"\xff", False),
    ],
)
def test_same(answer: bytes, expected: bytes, equal: bool) -> None:
    assert same(answer, expected) is equal


@pytest.mark.parametrize(
    ("answer", "expected", "equal"),
    [
        (b'{"fox": 0.71, "dog": 0.2}', b'{"fox": 0.75, "cat": 0.1}', True),
        (b'{"fox": 0.69, "dog": 0.2}', b'{"fox": 0.75, "dog": 0.2}', False),
        (b'{"dog": 0.5, "fox": 0.49}', b'{"fox": 0.5, "dog": 0.49}', False),
        (b"{}", b'{"fox": 0.5}', False),
        (b"[0.5]", b"[0.5]", False),
        (b'{"fox": "likely"}', b'{"fox": 0.5}', False),
        (b"fox", b"fox", False),
    ],
)
def test_answers_of_pictures_decoded_approximately_agree_in_the_best_class(
    answer: bytes, expected: bytes, equal: bool
) -> None:
    assert same_best(answer, expected) is equal


class Answering(BaseHTTPRequestHandler):
    """Echoes at /echo, swaps one answer at /mixed, refuses at /full."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/mixed" and body.endswith(b"3"):
            body = body[:-1] + b"2"
        if self.path == "/full":
            body = b"the queue is full"
        self.send_response(503 if self.path == "/full" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the test's output."""


class Patient(ThreadingHTTPServer):
    """Takes as many connections at once as are asked for; five may wait by default, and the others be reset."""

    request_queue_size = 64


@pytest.fixture
def url() -> Iterator[str]:
    with Patient(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def workload(*, knows: bool) -> Workload:
    def bodies(count: int) -> list[bytes]:
        return [b"request %d" % i for i in range(count)]

    return Workload("echo", Path("echo.mar"), b"request", "text/plain", bodies, bytes if knows else None)


@pytest.mark.parametrize(("path", "right"), [("/echo", True), ("/mixed", False), ("/full", False)])
def test_each_of_many_answers_is_checked(url: str, path: str, right: bool) -> None:
    checker = Checker(workload(knows=True))
    if right:
        checker.check(url + path, count=8)
    else:
        with pytest.raises(WrongAnswerError):
            checker.check(url + path, count=8)


def test_without_a_known_answer_the_first_server_is_the_measure(url: str) -> None:
    checker = Checker(workload(knows=False))
    checker.check(f"{url}/echo", count=8)
    with pytest.raises(WrongAnswerError, match="request 3"):
        checker.check(f"{url}/mixed", count=8)


def test_an_answer_is_looked_for_where_the_dialect_has_it(url: str) -> None:
    with pytest.raises(WrongAnswerError, match="holds no answer"):
        Checker(workload(knows=True)).check(f"{url}/echo", count=1, adapter=RAW_TENSORS)


def test_a_body_goes_out_as_the_dialect_wants_it(url: str) -> None:
    checker = Checker(workload(knows=True))
    checker.check(f"{url}/echo", adapter=JSON_LISTS)
    assert (JSON_LISTS.wrap(b'"a"'), JSON_LISTS.unwrap(b'["a"]')) == (b'["a"]', b'"a"')
    for broken in (b"", b"[", b'"a"', b'{"a": 1}'):
        with pytest.raises(ValueError, match="no JSON list"):
            JSON_LISTS.unwrap(broken + b" ")


def test_a_refusal_is_never_taken_for_the_measure(url: str) -> None:
    checker = Checker(workload(knows=False))
    with pytest.raises(WrongAnswerError, match="503"):
        checker.check(f"{url}/full", count=1)
    checker.check(f"{url}/echo", count=1)


def test_no_server_is_status_0() -> None:
    status, reason = post("http://127.0.0.1:1/", b"", "text/plain")
    assert status == 0
    assert b"refused" in reason


def test_both_servers_get_the_same_configuration_on_loopback() -> None:
    ports = {
        "inference_address": 1,
        "management_address": 2,
        "metrics_address": 3,
        "grpc_inference_port": 4,
        "grpc_management_port": 5,
    }
    lines = properties(ports).splitlines()
    assert "inference_address=http://127.0.0.1:1" in lines
    assert "grpc_management_port=5" in lines
    assert "job_queue_size=1000" in lines


def test_a_workload_that_cannot_be_packed_says_why(tmp_path: Path) -> None:
    archiver = tmp_path / "torch-model-archiver"
    archiver.write_text("#!/bin/sh\necho no room left\nexit 1\n")
    archiver.chmod(0o755)
    with pytest.raises(UnavailableError, match=r"no echo\.mar: no room left"):
        echo(archiver, tmp_path)
