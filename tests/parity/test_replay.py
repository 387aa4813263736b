"""What TorchServe answered is what this server answers: every row passes, departs as declared, or is listed as missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from . import records
from .compare import told
from .departures import DEPARTURES, allowed, expected
from .rows import SETUPS

THOROUGH = ("workflow-registered", "workflow-keys")  # more of the same, on servers of their own
ROWS = [
    pytest.param(
        setup.name,
        row.name,
        id=f"{setup.name}-{row.name}",
        marks=[pytest.mark.thorough] if setup.name in THOROUGH else [],
    )
    for setup in SETUPS
    for row in setup.rows
]
BY_NAME = {setup.name: setup for setup in SETUPS}
MISSING = records.missing()


@pytest.mark.parametrize(("setup", "row"), ROWS)
def test_row(setup: str, row: str, seen: Callable[[str], Any]) -> None:
    recorded = records.read(BY_NAME[setup])
    assert row in recorded, "not recorded, or asked otherwise since: python -m tests.parity record"
    difference = told(expected(row, recorded[row]), seen(setup)[row], allowed)
    if row in MISSING:
        assert difference, f"this passes now: take the line '{row} | …' out of tests/parity/missing.txt"
    else:
        assert not difference, difference


def test_the_lists_name_rows() -> None:
    names = [row.name for setup in SETUPS for row in setup.rows]
    assert len(names) == len(set(names))
    assert set(MISSING) <= set(names)
    assert set(DEPARTURES) <= set(names)
    assert all(MISSING.values())
