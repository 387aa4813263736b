"""A server that the examples are packed for and registered with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..e2e.live import LiveServer, eventually

LOADED = 900.0  # seconds in which a model loads, on the slowest machine
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A running server without models."""
    home = tmp_path_factory.mktemp("examples")
    (home / "store").mkdir()
    server = LiveServer(home, ()).wait()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def packed(house: LiveServer) -> Callable[[str], LiveServer]:
    """Pack an example by its own script and register it; the server, once a worker of the model serves."""
    done: set[str] = set()

    def pack(example: str) -> LiveServer:
        if example not in done:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            script = EXAMPLES / example / "pack.sh"
            made = subprocess.run(
                [script, house.store], env={**os.environ, "PATH": path}, check=False, capture_output=True, text=True
            )
            assert made.returncode == 0, made.stderr
            answer = house.manage("POST", f"/models?url={example}.mar&initial_workers=1&synchronous=false")
            assert answer.status == 202, answer.body
            eventually(lambda: house.workers(example, "READY"), LOADED)
            done.add(example)
        return house

    return pack
