"""The front runs on uvloop in production and on asyncio's own loop where uvloop is not: both are tested."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

# What these look at (routes, bodies, keys, documents) is above the transports, so they run on the loop of production only.
ABOVE_THE_TRANSPORTS = {
    "test_aliases",
    "test_auth",
    "test_cors",
    "test_health",
    "test_management",
    "test_openapi",
    "test_predict",
}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.stem in ABOVE_THE_TRANSPORTS:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}
