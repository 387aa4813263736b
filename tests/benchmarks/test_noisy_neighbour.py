"""What a noisy client costs a quiet one with fair shares, in a few of the cells of benchmarks.noisy_neighbour."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.noisy_neighbour import ONE_BY_ONE, row
from benchmarks.simulation.cell import CURVES, Curve
from benchmarks.simulation.neighbour import NOISY, QUIET, Cell

SLOW = Curve("10 times as slow as a GPU", lambda size: 0.04 + 0.006 * size, 8, 0.5)


@pytest.mark.parametrize(
    ("cell", "arrivals", "weight", "load"),
    [
        (Cell(ONE_BY_ONE, 1), "Poisson", 4.0, 0.2),
        (Cell(ONE_BY_ONE, 1, workers=2), "bursty", 4.0, 0.1),
        (Cell(SLOW, 8, rule="eager"), "Poisson", 1.0, 0.05),
        (Cell(SLOW, 8, rule="fixed", delay=0.02), "bursty", 4.0, 0.1),
        (Cell(CURVES[0], 8), "Poisson", 4.0, 0.2),
        pytest.param(Cell(CURVES[1], 32), "bursty", 4.0, 0.2, marks=pytest.mark.thorough),
    ],
)
def test_a_quiet_client_waits_for_one_batch_and_is_never_refused(
    cell: Cell, arrivals: str, weight: float, load: float
) -> None:
    found = row(cell, arrivals, weight, load, seconds=8.0)
    assert list(found.shortfalls()) == []
    assert found.shared.refused[QUIET] == 0
    assert found.shared.refused[NOISY] > 100
    assert len(found.shared.took) > 20
    assert found.queued.p99 > 2 * found.shared.p99, "without shares it waits behind all of the noisy one's"


def test_a_shortfall_is_told() -> None:
    found = row(Cell(ONE_BY_ONE, 1), "Poisson", 0.05, 0.3, seconds=2.0)
    assert any("times the best" in line for line in found.shortfalls())
    late = found._replace(shared=replace(found.queued, refused={QUIET: 3, NOISY: 0}, batch=0.5))
    assert [line.partition(": ")[2].split(" ")[0] for line in late.shortfalls()] == ["p99", "3", "batches"]
