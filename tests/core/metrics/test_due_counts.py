"""DueCounts: what many models have noted is counted soon, a few models at a time."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from torchserve.core.metrics.due_counts import AFTER, FEW, ROUNDS, DueCounts
from torchserve.scheduler.virtual_time import VirtualLoop


@pytest.mark.parametrize(
    ("models", "rounds"), [(1, 1), (FEW, 1), (FEW + 1, 2), (100, 7), (FEW * ROUNDS + 1, 10), (1000, 10)]
)
def test_each_is_called_once_and_in_order(models: int, rounds: int) -> None:
    called: list[tuple[int, float]] = []

    async def main() -> None:
        due = DueCounts()
        loop = asyncio.get_running_loop()
        for number in range(models):
            due(partial(lambda number: called.append((number, loop.time())), number))
        await asyncio.sleep(100 * AFTER)
        first = len(called)
        due(lambda: called.append((models, loop.time())))
        await asyncio.sleep(1.5 * AFTER)
        assert len(called) == first + 1, "it begins anew"

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    assert [number for number, _ in called] == list(range(models + 1))
    times = [at for _, at in called[:-1]]
    assert len(set(times)) == rounds
    assert max(times.count(at) for at in set(times)) <= max(FEW, -(-models // ROUNDS))
