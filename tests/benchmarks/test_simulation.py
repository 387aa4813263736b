"""The simulation is only worth what its clocks, arrivals and counts are."""

from __future__ import annotations

from itertools import islice, pairwise, takewhile
from pathlib import Path

import pytest

from benchmarks.simulate import shortfalls
from benchmarks.simulation.cell import CONTENDERS, CURVES, CellResult, Curve, between, padded, play
from torchserve.cli.loadgen.arrivals import bursty, poisson, recorded

STEADY = Curve("steady", lambda size: 0.01, 4, 0.05)


@pytest.mark.parametrize("process", [poisson, bursty])
def test_arrivals_have_the_rate_asked_for(process):
    times = list(takewhile(lambda at: at < 200.0, process(100.0, 3)))
    assert 19_000 < len(times) < 21_000
    assert all(later > earlier for earlier, later in pairwise(times))
    assert times == list(takewhile(lambda at: at < 200.0, process(100.0, 3))), "the same seed, the same arrivals"


def test_bursts_are_bursts():
    def variance(process) -> float:
        counts = [0] * 400
        for at in takewhile(lambda at: at < 200.0, process(100.0, 3)):
            counts[int(at * 2)] += 1
        mean = sum(counts) / len(counts)
        return sum((count - mean) ** 2 for count in counts) / len(counts) / mean

    assert variance(poisson) < 1.5 < 5.0 < variance(bursty)


def test_a_trace_is_squeezed_to_the_rate(tmp_path: Path):
    (tmp_path / "trace").write_text("10\n11\n15\n20\n")
    assert list(recorded(tmp_path / "trace", 1.0)) == pytest.approx([0.0, 0.3, 1.5, 3.0])
    (tmp_path / "trace").write_text("5\n5\n")
    with pytest.raises(ValueError, match="two arrivals"):
        next(recorded(tmp_path / "trace", 1.0))


def test_between_measured_sizes_lie_straight_lines():
    assert [between({1: 1.0, 3: 2.0, 4: 8.0})(size) for size in (1, 2, 3, 4)] == [1.0, 1.5, 2.0, 8.0]
    assert [round(curve.capacity) for curve in CURVES] == [89, 1379, 500, 941]
    assert [padded(float, (2, 5))(size) for size in (1, 2, 3, 5)] == [2.0, 2.0, 5.0, 5.0]


@pytest.mark.parametrize("contender", CONTENDERS)
def test_an_idle_server_answers_everybody(contender: str):
    seen = play(contender, STEADY, islice(poisson(5.0, 1), 100), 10.0)
    assert (seen.offered, seen.refused) == (pytest.approx(50, abs=20), 0.0)
    assert seen.in_time > {"pick-up 100 ms": -1.0, "deferred": 0.8}.get(contender, 0.99)
    waits = {"adaptive": 10, "eager": 10, "oldest age": 20, "pick-up": 20, "pick-up 100 ms": 110, "deferred": 50}
    assert seen.p50 == pytest.approx(waits[contender], abs=3)


def test_late_answers_are_not_counted_and_refusals_are():
    """Twice what the worker can do: eagerly all are served, nearly all too late; adaptively half in time."""
    eager = play("eager", STEADY, poisson(800.0, 1), 5.0)
    assert (eager.in_time, eager.refused) == (0.0, 0.0)
    assert eager.p50 > 1000
    adaptive = play("adaptive", STEADY, poisson(800.0, 1), 5.0)
    assert adaptive.in_time == pytest.approx(0.5, abs=0.03)
    assert adaptive.refused == pytest.approx(0.5, abs=0.05)
    assert adaptive.p99 <= 50.0


def test_what_falls_short_is_named():
    table = {(name, 0.1): CellResult(100, 1.0, 0.0, 10.0, 20.0, 1.0) for name in CONTENDERS}
    assert shortfalls(STEADY, "Poisson", table, [0.1]) == []
    table["adaptive", 0.1] = CellResult(100, 0.9, 0.0, 12.0, 20.0, 1.0)
    assert len(shortfalls(STEADY, "Poisson", table, [0.1])) == 2
