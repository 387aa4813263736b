"""strace's output as a number of bytes, and a real process traced."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.io_bytes import IoBytes, NotTracedError, count_io_bytes, returned, table
from benchmarks.process import Launch, ServerProcess, free_ports
from benchmarks.workload import Workload

SEEN = """\
411   recvfrom(9, ""..., 4096, 0, NULL, NULL) = 200
411   write(3, ""..., 100 <unfinished ...>
412   read(5, 0x7f, 65536) = -1 EAGAIN (Resource temporarily unavailable)
411   <... write resumed>)                   = 100
412   sendmsg(7, {msg_name=NULL, msg_iov=[{iov_base=""..., iov_len=19}], msg_flags=0}, 0) = 19
412   read(5 <unfinished ...>
412   read(8, "", 4096)                      = 0
413   recvmsg(3, {msg_namelen=0}, 0)         = ? ERESTARTSYS (To be restarted if SA_RESTART is set)
412   +++ exited with 7 +++
"""


def test_what_failed_or_is_unfinished_moved_nothing() -> None:
    assert returned(SEEN) == 200 + 100 + 19


def test_a_row_says_how_often_the_body_is_moved() -> None:
    assert table([IoBytes("echo1m", "it", 1000, 4100.4)])[-1] == "| echo1m | it | 1,000 | 4,100 | 4.1 |"


SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Echo(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.end_headers(); self.wfile.write(body)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""


class Small(ServerProcess):
    """Python's own server: it receives a body once and sends it once."""

    def prepare(self) -> Launch:
        return Launch([sys.executable, "-c", SERVER, str(self.port)])


def test_a_server_that_only_receives_and_sends_moves_a_body_twice(tmp_path: Path) -> None:
    body = b"x" * 200_000
    with Small("small", tmp_path, free_ports(1)[0], "/") as server:
        server.wait_for_ping(60)
        try:
            seen = count_io_bytes(
                server, Workload("echo", Path(), body, "text/plain", lambda n: [body] * n, bytes), tmp_path
            )
        except NotTracedError as reason:
            pytest.skip(str(reason))
        assert psutil.pid_exists(server.front().pid), "it is let go"
    assert 2.0 <= seen.moved / len(body) < 2.1
