"""The front runs on uvloop in production and on asyncio's own loop where uvloop is not: both are tested."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from .doubles import processes


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=[0, 1], ids=["one process", "acceptor"])
def acceptors(request: pytest.FixtureRequest) -> Iterator[None]:
    """What holds of the one process holds of an acceptor beside it."""
    processes.acceptors = request.param
    yield
    processes.acceptors = 0
