from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from torchserve.scheduler.virtual_time import VirtualLoop

from ..standins.nvml import fake_nvml, nvml_library

__all__ = ["fake_nvml", "nvml_library"]


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine in virtual time: sleeping costs nothing, and hanging fails."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(main)

    return run
