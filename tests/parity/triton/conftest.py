"""Plays all rows once on this server."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from torchserve.core.version import __version__

from ..subject import Subject, poll
from ..wire import Silence, exchange, request
from . import models
from .play import play
from .recorded import ROWS, SETUP


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    """Row -> what it showed here."""
    home = tmp_path_factory.mktemp("triton") / "h"
    with Subject(Path(sys.executable).parent, __version__, SETUP, home) as subject:
        for name in models.LOADED:
            assert poll(lambda path=f"/v2/models/{name}/ready": _answers(subject, path), 120), subject.output()[-3000:]
        ports = {str(face): port for face, port in subject.ports.items()}
        yield {row.name: play(row, ports) for row in ROWS}
    subject.remove()


def _answers(subject: Subject, path: str) -> bool:
    port = subject.ports["inference"]
    try:
        return exchange(port, request("GET", path, [], b"", port), 20)["status"] == 200
    except Silence:
        return False
