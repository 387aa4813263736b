"""A short chaos run is clean, with every fault in it; and one whose handler is at fault is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from .ledger import Fate, Ledger
from .models import BATCHED_HANDLER
from .run import run
from .scene import Scene

MIXED = BATCHED_HANDLER.replace("for row in data]", "for row in data][::-1]", 1)
TWICE = BATCHED_HANDLER.replace('RUNS.write(name + "\\n")', 'RUNS.write(name + "\\n" + name + "\\n")', 1)


@pytest.mark.timeout(900)
async def test_every_fault_leaves_each_answer_right(tmp_path: Path) -> None:
    verdict = await run(Scene(tmp_path, Ledger()), 0.0, seed=1)
    assert verdict.clean, f"{verdict}"
    assert verdict.ledger.fates[Fate.RIGHT]
    assert all(verdict.faults.values())


@pytest.mark.parametrize(("handler", "fate"), [(MIXED, Fate.WRONG), (TWICE, Fate.DOUBLED)], ids=["mixed", "twice"])
async def test_answers_that_are_mixed_up_and_requests_that_run_twice_are_found(
    tmp_path: Path, handler: str, fate: Fate
) -> None:
    assert handler != BATCHED_HANDLER
    ledger = Ledger()
    enough = lambda: ledger.fates[Fate.RIGHT] > 20 and (handler is TWICE or ledger.fates[fate] > 0)
    verdict = await run(Scene(tmp_path, ledger, handler, flows=False), 0.0, seed=1, faults=(), enough=enough)
    assert not verdict.clean
    assert verdict.ledger.examples[fate]
