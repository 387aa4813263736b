"""When an idle engine begins, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from torchserve.core.generation.gathering import AT_MOST, QUIET, Gathering
from torchserve.scheduler.virtual_time import VirtualLoop

SOON, LATER = QUIET * 0.9, QUIET * 1.1


@pytest.mark.parametrize(
    ("gaps", "begun"),
    [
        pytest.param([], [QUIET], id="one"),
        pytest.param([0.0, 0.0], [QUIET], id="all at once"),
        pytest.param([SOON, SOON, SOON], [3 * SOON + QUIET], id="one by one"),
        pytest.param([SOON] * 20, [AT_MOST, 20 * SOON + QUIET], id="without an end"),
        pytest.param([LATER, SOON], [QUIET, LATER + SOON + QUIET], id="two groups"),
    ],
)
def test_it_begins_once_none_has_come_for_a_while(gaps: list[float], begun: list[float]) -> None:
    found: list[float] = []

    async def come() -> None:
        loop = asyncio.get_running_loop()
        gathering = Gathering(lambda: found.append(loop.time()))
        gathering.came()
        for gap in gaps:
            await asyncio.sleep(gap)
            gathering.came()
            assert gathering.lasts
        while gathering.lasts:
            await asyncio.sleep(QUIET)

    loop = VirtualLoop()
    try:
        loop.run_until_complete(come())
    finally:
        loop.close()
    assert found == pytest.approx(begun)
