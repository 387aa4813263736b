"""Measures how long a single request's body holds up all others while the front parses it.

Each kind of body is sent alone to a server that runs, while another connection asks for /ping again and again. Run it
as `python -m benchmarks.stalls`; benchmarks/README.md says how it measures. Exit status: 0 if no ping waited longer
than `--most` milliseconds, 1 if one did, 2 if nothing could be measured.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .front_door import say, serving
from .process import NotServingError
from .servers import PLAIN, Server
from .workload import echo

MOST = 20.0  # milliseconds that a single request may hold the event loop
_MB = 1_000_000
_SIZE = 6 * _MB  # below max_request_size
_URLENCODED = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data; boundary=B"
_PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of body. It is sent as it is if `chunked`, framing included, to the management API if it `manages`."""

    name: str
    body: bytes
    content_type: str = ""
    chunked: bool = False
    manages: bool = False

    def request(self, target: str) -> bytes:
        """Return the bytes of a request that sends it, and asks for the connection's end."""
        length = "Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {len(self.body)}"
        lines = [f"POST {target} HTTP/1.1", "Host: localhost", length, "Connection: close"]
        lines += [f"Content-Type: {self.content_type}"] if self.content_type else []
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def kinds() -> list[Kind]:
    """Return every kind of body whose bytes cost the front more than to receive them."""
    return [
        Kind("bytes", bytes(_SIZE)),
        Kind("JSON of floats", _filled(b"[", b"0.12345,", b"1]"), "application/json"),
        Kind("JSON of ints, 1 MB", _filled(b"[", b"1,", b"1]", 1 << 20), "application/json"),
        Kind("JSON that ends early, 1 MB", _filled(b"[", b"1,", b"", 1 << 20), "application/json"),
        Kind("JSON of brackets", _filled(b"", b"[", b""), "application/json"),
        Kind("form of %41", _filled(b"a=", b"%41", b""), _URLENCODED),
        Kind("form of +", _filled(b"a=", b"+", b""), _URLENCODED),
        Kind("form of &", _filled(b"", b"&", b""), _URLENCODED),
        Kind("form with a name of \\xff", _filled(b"", b"\xff", b"=1"), _URLENCODED),
        Kind('127 parts with 8 KB of ;a="', _parts(b';a="'), _MULTIPART),
        Kind("127 parts with 8 KB of lines", _parts(b"\r\na"), _MULTIPART),
        Kind("parts with near boundaries", _filled(b"--B\r\n", b"\r\n--", b""), _MULTIPART),
        Kind("chunks of 1 byte", _filled(b"", b"1\r\nx\r\n", b"0\r\n\r\n"), chunked=True),
        Kind("chunks of 16 bytes", _filled(b"", b"10\r\n" + bytes(16) + b"\r\n", b"0\r\n\r\n"), chunked=True),
        Kind("chunks with extensions", _filled(b"", b"1;" + b"e" * 500 + b"\r\nx\r\n", b"0\r\n\r\n"), chunked=True),
        Kind("management JSON, 400,000 keys", _keys(400_000), "application/json", manages=True),
    ]


def _filled(begin: bytes, piece: bytes, end: bytes, size: int = _SIZE) -> bytes:
    """Return `piece` as often as it fits into `size` bytes between `begin` and `end`."""
    return begin + piece * ((size - len(begin) - len(end)) // len(piece)) + end


def _parts(header: bytes) -> bytes:
    head = (b"content-disposition: form-data; name=a" + header * 8000)[:8000]
    return (b"--B\r\n" + head + b"\r\n\r\nx\r\n") * 127 + b"--B--\r\n"


def _keys(number: int) -> bytes:
    return b"{" + b",".join(b'"%d":1' % key for key in range(number)) + b"}"


class Pinger(threading.Thread):
    """A client that asks for /ping again and again, and keeps how long each answer took, in seconds."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._ends = threading.Event()
        self.waits: list[float] = []

    def run(self) -> None:
        while not self._ends.is_set():
            begun = time.perf_counter()
            self._socket.sendall(_PING)
            if not self._socket.recv(65536):
                return
            self.waits.append(time.perf_counter() - begun)

    def end(self) -> list[float]:
        """Return what each answer took. Raises NotServingError if the server ended the connection."""
        alive = self.is_alive()
        self._ends.set()
        self.join()
        self._socket.close()
        if not alive:
            raise NotServingError("the connection of the pings has ended")
        return self.waits


@dataclass(frozen=True, slots=True)
class Stall:
    """The cost of one kind of body: the longest wait of a ping, the usual one, and the front's processor time, in ms.

    `plain` is the longest wait of as many pings while nothing is sent: what the machine itself adds.
    """

    kind: Kind
    status: int
    longest: float
    plain: float
    processor: float

    def __str__(self) -> str:
        """Return the row of the table."""
        size = len(self.kind.body) / _MB
        return (
            f"| {self.kind.name} | {size:.1f} | {self.status or 'none'} | {self.longest:.0f} | {self.plain:.0f} |"
            f" {self.processor:.0f} | {self.processor / size:.0f} |"
        )


COLUMNS = ("body", "MB", "status", "longest ping, ms", "without it, ms", "processor, ms", "ms per MB")


def measure(server: Server, kind: Kind, rounds: int) -> Stall:
    """Send the body `rounds` times; of the longest pings the median is kept, so that one of the machine's is not."""
    port = server.ports["management_address" if kind.manages else "inference_address"]
    request = kind.request("/models" if kind.manages else "/predictions/echo")
    inference = server.ports["inference_address"]
    longest: list[float] = []
    status, before = 0, server.usage().of_front.seconds
    pings = 0
    for _ in range(rounds):
        pinger = Pinger(inference)
        pinger.start()
        status = exchange(port, request)
        waits = pinger.end()
        longest.append(max(waits, default=0.0))
        pings += len(waits)
    spent = server.usage().of_front.seconds - before
    before = server.usage().of_front.seconds
    plain = [max(pinged(inference, max(1, pings // rounds))) for _ in range(rounds)]
    spent -= server.usage().of_front.seconds - before  # the pings' own
    middle = statistics.median
    return Stall(kind, status, middle(longest) * 1e3, middle(plain) * 1e3, max(0.0, spent) * 1e3 / rounds)


def pinged(port: int, number: int) -> list[float]:
    """Return how long each of so many pings took."""
    pinger = Pinger(port)
    pinger.start()
    while len(pinger.waits) < number and pinger.is_alive():
        time.sleep(0.001)
    return pinger.end()


def exchange(port: int, request: bytes) -> int:
    """Send a request and return the status of its answer; 0 if the connection ended without one."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        with suppress(ConnectionError):  # refused while it is sent: the answer is there all the same
            connection.sendall(request)
        with suppress(ConnectionError):
            while received := connection.recv(65536):
                answer = (answer + received)[:16]
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stalls", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times that each body is sent (default 5)")
    parser.add_argument(
        "--most", type=float, default=MOST, help="ms that a ping may wait beyond the machine's own wait"
    )
    options = parser.parse_args(argv)
    over: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="stalls-") as name:
            venv = Path(sys.prefix)
            workload = echo(venv / "bin" / "torch-model-archiver", Path(name))
            with serving(workload, venv, PLAIN) as server:
                print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
                for kind in kinds():
                    stall = measure(server, kind, options.rounds)
                    print(stall, flush=True)
                    if stall.longest - stall.plain > options.most:
                        over.append(kind.name)
    except (NotServingError, OSError) as fault:
        say(f"INVALID: {fault}")
        return 2
    if over:
        say(f"longer than {options.most:g} ms: {', '.join(over)}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
