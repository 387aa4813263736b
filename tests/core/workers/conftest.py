"""Workers over a socketpair, of which nothing is left after a test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ..doubles import until
from .socket_pair import Pair


@pytest.fixture
async def pairs() -> AsyncIterator[list[Pair]]:
    """The pairs that a test has made; afterwards nothing of them is left."""
    made: list[Pair] = []
    yield made
    for pair in made:
        pair.process.ends(0)
        await pair.ended()
        pair.far.close()
    await until(lambda: all(pair.process.socket.fileno() == -1 for pair in made))


@pytest.fixture
async def pair(pairs: list[Pair]) -> Pair:
    pairs.append(Pair())
    return pairs[0]
