"""BareSockets: the floor of large bodies between two processes: a loop of Python that only sends and receives.

    python -m benchmarks.bare_sockets PORT SIZE [CERTIFICATE]

is the far end: it receives SIZE bytes into memory that it has, and sends them back, until the connection ends.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from torchserve.core.workers.remote.one_time_keys import FRONT, OneTimeKeys


class BareSockets:
    """A pair of processes that send each other bodies of `size` bytes in turns, over TCP on this host."""

    def __init__(self, size: int, *, encrypted: bool) -> None:
        self._size = size
        self._keys = OneTimeKeys() if encrypted else None

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Have the far end run meanwhile."""
        with contextlib.ExitStack() as stack:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            command = [
                sys.executable,
                "-m",
                "benchmarks.bare_sockets",
                str(listening.getsockname()[1]),
                str(self._size),
            ]
            if self._keys is not None:
                key = self._keys.issue("floor")
                file = stack.enter_context(tempfile.NamedTemporaryFile("w"))
                file.write(key.certificate + key.key + self._keys.authority)
                file.flush()
                command.append(file.name)
            child = stack.enter_context(subprocess.Popen(command))
            near, _ = listening.accept()
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._keys is not None:
                near = self._keys.context.wrap_socket(near, server_side=True)
            self._near, self._far = near, psutil.Process(child.pid)
            with near:
                yield

    def large(self, count: int) -> tuple[float, float]:
        """Return the speed of bodies there and back, in GB/s, and in GB per second of processor time."""
        body, room = bytes(self._size), memoryview(bytearray(self._size))
        self._turn(body, room)
        began, spent = time.perf_counter(), self._spent()
        for _ in range(count):
            self._turn(body, room)
        moved = 2 * self._size * count / 1e9
        return moved / (time.perf_counter() - began), moved / (self._spent() - spent)

    def _turn(self, body: bytes, room: memoryview) -> None:
        self._near.sendall(body)
        receive(self._near, room)

    def _spent(self) -> float:
        far = self._far.cpu_times()
        return time.process_time() + far.user + far.system


def receive(sock: socket.socket, room: memoryview) -> bool:
    """Fill `room`; return False at the end of the stream."""
    at = 0
    while at < len(room):
        count = sock.recv_into(room[at:])
        if not count:
            return False
        at += count
    return True


def main() -> None:
    port, size, *certificate = sys.argv[1:]
    sock = socket.create_connection(("127.0.0.1", int(port)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if certificate:
        context = ssl.create_default_context(cadata=Path(certificate[0]).read_text())
        context.load_cert_chain(certificate[0])
        sock = context.wrap_socket(sock, server_hostname=FRONT)
    room = memoryview(bytearray(int(size)))
    with sock:
        while receive(sock, room):
            sock.sendall(room)


if __name__ == "__main__":
    main()
