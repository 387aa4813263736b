"""wrk's printed report becomes a Sample; what is no report is refused."""

from __future__ import annotations

import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.wrk import Sample, UnreadableReportError, command, drive, parse, script

QUIET = """Running 10s test @ http://127.0.0.1:8080/predictions/echo
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     5.94ms    3.48ms  40.11ms   78.03%
    Req/Sec     2.80k   402.66     3.61k    73.00%
  Latency Distribution
     50%    5.14ms
     75%    7.60ms
     90%   10.53ms
     99%   15.54ms
  27894 requests in 10.00s, 6.70MB read
Requests/sec:   2789.11
Transfer/sec:    685.58KB
"""
MIXED_UNITS = """Running 1m test @ http://127.0.0.1:8080/predictions/echo
  1 threads and 1 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   812.94us    1.48ms   1.20m    78.03%
    Req/Sec   280.20     40.66   361.00     73.00%
  Latency Distribution
     50%  640.00us
     75%  900.00us
     90%    1.10s |
     99%    1.50m |
  1.25M requests in 1.00m, 6.70MB read
Requests/sec:  20833.33
Transfer/sec:    685.58KB
""".replace("|", "")  # no editor takes the blanks at the end then
FEW = QUIET.replace("27894 requests", "9000 requests")
STATUS = QUIET.replace("Requests/sec", "  Non-2xx or 3xx responses: 1117\nRequests/sec")
SOCKET = QUIET.replace("Requests/sec", "  Socket errors: connect 1, read 20, write 3, timeout 4\nRequests/sec")
NOBODY = """Running 1s test @ http://127.0.0.1:1/
  1 threads and 2 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.00us    0.00us   0.00us    -nan%
    Req/Sec     0.00      0.00     0.00      -nan%
  Latency Distribution
     50%    0.00us
     75%    0.00us
     90%    0.00us
     99%    0.00us
  0 requests in 1.00s, 0.00B read
  Socket errors: connect 2, read 0, write 0, timeout 0
Requests/sec:      0.00
Transfer/sec:       0.00B
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (QUIET, Sample(2789.11, 27894, 5.14, 15.54, 40.11, p90=10.53)),
        (QUIET + "99.9% 31007 us\n", Sample(2789.11, 27894, 5.14, 15.54, 40.11, p90=10.53, p999=31.007)),
        (FEW + "99.9% 31007 us\n", Sample(2789.11, 9000, 5.14, 15.54, 40.11, p90=10.53)),
        (MIXED_UNITS, Sample(20833.33, 1_250_000, 0.64, 90_000, 72_000, p90=1100.0)),
        (STATUS, Sample(2789.11, 27894, 5.14, 15.54, 40.11, bad_status=1117, p90=10.53)),
        (SOCKET, Sample(2789.11, 27894, 5.14, 15.54, 40.11, bad_socket=28, p90=10.53)),
        (NOBODY, Sample(0.0, 0, 0.0, 0.0, 0.0, bad_socket=2, p90=0.0)),
    ],
    ids=["quiet", "tail", "too few for a tail", "units", "status", "socket", "nobody"],
)
def test_a_report_is_read(text: str, expected: Sample) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unable to connect to 127.0.0.1:1 Connection refused\n",
        QUIET.replace("Requests/sec", "Requests"),
        QUIET.replace("     99%   15.54ms\n", ""),
        QUIET.replace("27894 requests in", "requests in"),
    ],
)
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(UnreadableReportError):
        parse(text)


@pytest.mark.parametrize(
    ("sample", "fault"),
    [
        (Sample(1.0, 10, 1.0, 1.0, 1.0), None),
        (Sample(1.0, 10, 1.0, 1.0, 1.0, bad_status=1), "1 responses that are neither 2xx nor 3xx, 0 socket errors"),
        (Sample(1.0, 10, 1.0, 1.0, 1.0, bad_socket=3), "0 responses that are neither 2xx nor 3xx, 3 socket errors"),
        (Sample(0.0, 0, 0.0, 0.0, 0.0), "no request was answered"),
    ],
)
def test_a_fault_is_named(sample: Sample, fault: str | None) -> None:
    assert sample.fault == fault


def test_the_command_has_one_thread_and_whole_seconds() -> None:
    words = command("http://127.0.0.1:1/x", Path("/s.lua"), 64, 0.2)
    assert {"-t1", "-c64", "-d1s", "--latency", "/s.lua"} <= set(words)
    assert words[-1] == "http://127.0.0.1:1/x"


def test_a_quote_in_a_path_stays_in_its_string() -> None:
    assert r"read('/it\'s\\here')" in script(Path("/it's\\here"), "text/plain")


@pytest.mark.parametrize(("key", "header"), [("", False), ("abc", True)])
def test_a_key_is_sent_if_there_is_one(key: str, header: bool) -> None:
    assert ("wrk.headers['Authorization'] = 'Bearer abc'" in script(Path("/b"), "text/plain", key)) is header


def test_several_bodies_are_sent_in_turn(tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        pytest.skip("needs wrk")
    bodies, seen = [b"one", b"twotwo", b"3"], []

    class Noting(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            seen.append((self.rfile.read(int(self.headers["Content-Length"])), self.headers["Content-Type"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the test's output."""

    files = [tmp_path / f"{place}.body" for place in range(len(bodies))]
    for file, body in zip(files, bodies, strict=True):
        file.write_bytes(body)
    (tmp_path / "it.lua").write_text(script(files, "text/x"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Noting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sample = drive(f"http://127.0.0.1:{server.server_port}/", tmp_path / "it.lua", 1, 1)
        server.shutdown()
    assert sample.fault is None
    # wrk makes a request for itself before the first that it sends.
    assert seen[:6] == [(body, "text/x") for body in [b"twotwo", b"3", b"one"] * 2]
