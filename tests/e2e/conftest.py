"""The real server, started and stopped for a test; what it leaves behind is looked at when it is stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from ..standins.nvml import fake_nvml, nvml_library
from .live import LiveServer

__all__ = ["fake_nvml", "nvml_library"]


class Serve(Protocol):
    def __call__(
        self, *models: str, properties: str = "", env: dict[str, str] | None = None, arguments: Sequence[str] = ()
    ) -> LiveServer: ...


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home, with an empty store, of a server that all tests of a module ask."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "store").mkdir()
    return folder


@pytest.fixture
def serve(tmp_path: Path, store: Path) -> Iterator[Serve]:
    """Start a server with models of the store; it is up, and its models are loading, when this returns."""
    running: list[LiveServer] = []

    def start(
        *models: str, properties: str = "", env: dict[str, str] | None = None, arguments: Sequence[str] = ()
    ) -> LiveServer:
        running.append(LiveServer(tmp_path, models, properties=properties, env=env, arguments=arguments))
        return running[-1].wait()

    yield start
    for server in running:
        server.stop()
