"""A server whose file descriptors run out: idle connections make room, and it serves on."""

from __future__ import annotations

import http.client
import resource
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from .conftest import Serve
from .handlers import ECHO
from .live import make_model

SPARE = 40  # descriptors that are left to the server


@pytest.mark.parametrize(
    "path", ["/predictions/echo", "/ping"]
)  # the one is read by fast_http.py, the other by aiohttp
def test_idle_connections_are_closed_for_those_that_come(serve: Serve, store: Path, path: str) -> None:
    make_model(store, "echo", ECHO)
    server = serve("echo")
    server.ready("echo")
    pid = server.process.pid
    most = psutil.Process(pid).num_fds() + SPARE
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        clients: list[http.client.HTTPConnection] = []
        for _ in range(3 * SPARE):
            client = http.client.HTTPConnection("127.0.0.1", server.ports["Inference"], timeout=60)
            stack.callback(client.close)
            client.request("POST" if path != "/ping" else "GET", path, b"" if path == "/ping" else b"hello")
            assert client.getresponse().read()
            clients.append(client)
        clients[-1].request("GET", "/ping")
        assert clients[-1].getresponse().status == 200, "the latest stay"
    assert server.predict("echo", b"still here").body == b"still here"
    assert sum("idle connection(s), to accept others" in line for line in server.lines) == 1


LIMIT = """
import resource
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
from torchserve.cli.descriptors import raise_limit
print(raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0], min(hard if hard > 0 else 1 << 20, 1 << 20))
"""


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    said = subprocess.run([sys.executable, "-c", LIMIT], capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == said[1] == said[2]
