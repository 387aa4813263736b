"""What Triton answered is what this server answers: every row passes, or departs as declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ..compare import told
from ..departures import edited
from .departures import DEPARTURES, allowed
from .recorded import ROWS, read

RECORDED = read()


@pytest.mark.parametrize("row", [row.name for row in ROWS])
def test_row(row: str, seen: Mapping[str, Any]) -> None:
    assert row in RECORDED, "not recorded, or asked otherwise since: python -m tests.parity.triton VENV"
    wanted = RECORDED[row]
    if row in DEPARTURES:
        assert told(wanted, seen[row], allowed, "Triton"), (
            f"this is Triton's answer now: take {row!r} out of departures.py"
        )
        wanted = edited(wanted, DEPARTURES[row][1])
    assert not (difference := told(wanted, seen[row], allowed, "Triton")), difference


def test_the_lists_name_rows() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))
    assert set(DEPARTURES) <= set(names)
