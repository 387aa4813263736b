"""Plays every setup that the chosen tests need once on this server, a few at a time."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from torchserve.core.version import __version__

from .playing import played
from .records import missing
from .rows import SETUPS


@pytest.fixture(scope="session")
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """Setup name -> what its rows showed here."""
    wanted = {
        item.callspec.params["setup"]
        for item in request.session.items
        if item.path.parent == Path(__file__).parent and "seen" in getattr(item, "fixturenames", ())
    }
    bin_folder, home = Path(sys.executable).parent, tmp_path_factory.mktemp("parity")
    with ThreadPoolExecutor(3) as threads:
        running: dict[str, Future[dict[str, Any]]] = {
            setup.name: threads.submit(played, setup, bin_folder, __version__, home / setup.name, missing=missing())
            for setup in SETUPS
            if setup.name in wanted
        }
        yield lambda name: running[name].result()
    shutil.rmtree(home, ignore_errors=True)
