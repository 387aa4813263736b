"""The bodies that benchmarks.stalls sends are what their names say, and its pings are those of another connection."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from benchmarks.stalls import COLUMNS, Kind, Pinger, Stall, exchange, kinds, pinged
from torchserve.http.message.body import split_body
from torchserve.http.message.limits import Limits


class Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(418)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_each_body_fits_into_a_request_and_has_a_name_of_its_own() -> None:
    made = kinds()
    assert len({kind.name for kind in made}) == len(made)
    assert all(len(kind.body) <= Limits().max_request_size for kind in made)


def test_a_body_that_is_meant_to_be_split_is_split() -> None:
    (form,) = (kind for kind in kinds() if kind.name == "form of %41")
    (part,) = split_body(form.body, form.content_type, Limits())
    assert set(bytes(part.body)) == {ord("A")}


def test_an_exchange_and_pings_beside_it(port: int) -> None:
    pinger = Pinger(port)
    pinger.start()
    assert exchange(port, Kind("k", b"x" * 100_000, "text/plain").request("/x")) == 418
    assert pinger.end() is pinger.waits
    assert len(pinged(port, 3)) >= 3


def test_a_row_has_all_columns() -> None:
    row = str(Stall(Kind("k", bytes(2_000_000)), 200, 10.4, 1.2, 30.0))
    assert row == "| k | 2.0 | 200 | 10 | 1 | 30 | 15 |"
    assert row.count("|") == len(COLUMNS) + 1
