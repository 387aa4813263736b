"""The health check of containers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from torchserve.cli import health
from torchserve.cli.pidfile import PidFile
from torchserve.cli.runtime_file import write_runtime_file

from ..core.archive.web import Server, serve

server = pytest.fixture(serve, name="server")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (500, False)])
def test_the_running_server_is_asked(server: Server, status: int, healthy: bool) -> None:
    server.answer = lambda handler: handler.send(status, json.dumps({"status": "?"}).encode())
    pid_file = PidFile()
    try:
        write_runtime_file({"inference": server.url("").rstrip("/")}, None)
        assert health.healthy() == healthy
        assert server.hits == ["/ping"]
    finally:
        pid_file.remove()


def test_without_a_server_nothing_is_healthy() -> None:
    assert not health.healthy()
