"""The front runs on uvloop in production and on asyncio's own loop where uvloop is not: both are tested."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop

HERE = Path(__file__).parent
# What these look at (routes, bodies, keys, documents) is above the transports, so they run on the loop of production only.
ABOVE_THE_TRANSPORTS = {
    HERE / "api",
    HERE / "openapi",
    HERE / "predict",
    HERE / "test_auth.py",
    HERE / "test_cors.py",
    HERE / "transport/http2/test_same_answers.py",
}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if ABOVE_THE_TRANSPORTS & {item.path, *item.path.parents}:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}
