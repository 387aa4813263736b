"""What is said of goodput: shares within a round, and a loop that was not alone."""

from __future__ import annotations

import pytest

from benchmarks.goodput import Round, findings
from benchmarks.open_loop import Point


def a_round(*goodputs: float, loop: tuple[float, float] = (100.0, 100.0), refusal: float | None = 1.0) -> Round:
    points = [
        Point("it", "ours", 30.0, each, each, 0, 1.0, 2.0, None, None, refusal, 0.1, 9.0, 9.0, True)
        for each in goodputs
    ]
    return Round("it", loop, tuple(points))


@pytest.mark.parametrize(
    ("rounds", "met"),
    [
        ([a_round(30, 95, 90)], {"bare loop": True, "peak": True, "refusal": True}),
        ([a_round(30, 85, 80)], {"bare loop": False, "peak": True, "refusal": True}),
        ([a_round(30, 95, 80)], {"bare loop": True, "peak": False, "refusal": True}),
        ([a_round(30, 95, 90, refusal=5.0)], {"bare loop": True, "peak": True, "refusal": False}),
        ([a_round(30, 95, 90, refusal=None)], {"bare loop": True, "peak": True}),  # nothing was refused
        # A machine that was half as fast in the second round: the share is as it was.
        ([a_round(30, 95, 90), a_round(15, 47, 45, loop=(50, 50))], {"bare loop": True, "peak": True, "refusal": True}),
    ],
)
def test_each_target_by_itself(rounds: list[Round], met: dict[str, bool]) -> None:
    found = [each for each in findings("it", rounds) if each.met is not None]
    words = {"that, as a share of the bare loop": "bare loop", "as a share of the peak": "peak", "a refusal": "refusal"}
    said = {name: each.met for each in found for text, name in words.items() if text in each.what}
    assert said == met
    assert len(found) == len(met)


@pytest.mark.parametrize(("loop", "faults"), [((100.0, 120.0), 0), ((4.0, 98.0), 1), ((98.0, 4.0), 1)])
def test_a_loop_that_was_not_alone_is_no_measure(loop: tuple[float, float], faults: int) -> None:
    assert len(list(a_round(30, 95, loop=loop).faults())) == faults
