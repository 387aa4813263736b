"""A shared memory for tests, which is gone behind them."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from .region_client import SHM


@pytest.fixture
def key() -> Iterator[str]:
    """The key of a shared memory of 64 bytes."""
    made = f"torchserve-test-{uuid4().hex}"
    (SHM / made).write_bytes(bytes(range(64)))
    yield made
    (SHM / made).unlink(missing_ok=True)
