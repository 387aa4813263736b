"""Medians, ranges, ratios pair by pair, and what the report says of a run that is no measurement."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.report import OURS, PEER, Cell, Footprint, Report, Spread, pairwise
from benchmarks.wrk import Sample


def sample(rate: float, p50: float = 1.0, p99: float = 2.0) -> Sample:
    return Sample(rate, rate * 10, p50, p99, p99)


def cell(ours: list[float], peers: list[float]) -> Cell:
    marks = [Footprint(64 * 2**20, 512 * 2**20, 100.0, 40.0, (("java", 64 * 2**20), ("python", 512 * 2**20)))]
    rates = {PEER: peers, OURS: ours}
    return Cell(
        "echo",
        16,
        samples={name: [sample(rate) for rate in values] for name, values in rates.items() if values},
        footprints={name: marks * len(values) for name, values in rates.items() if values},
    )


@pytest.mark.parametrize(
    ("values", "median", "low", "high", "noise"),
    [
        ([5.0], 5.0, 5.0, 5.0, 0.0),
        ([30.0, 10.0, 20.0], 20.0, 10.0, 30.0, 1.0),
        ([10.0, 20.0, 30.0, 1000.0], 25.0, 10.0, 1000.0, 39.6),
        ([0.0, 0.0], 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_a_spread(values: list[float], median: float, low: float, high: float, noise: float) -> None:
    spread = Spread.of(values)
    assert (spread.median, spread.low, spread.high) == (median, low, high)
    assert spread.noise == pytest.approx(noise)


def test_a_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


@pytest.mark.parametrize(
    ("ours", "peers", "expected"),
    [
        ([200.0], [100.0], Spread(2.0, 2.0, 2.0)),
        # The machine slowed down threefold in the second pair: the ratios don't notice, a ratio of medians would.
        ([200.0, 60.0, 210.0], [100.0, 30.0, 100.0], Spread(2.0, 2.0, 2.1)),
        ([200.0, 300.0], [100.0], Spread(2.0, 2.0, 2.0)),
        ([200.0, 300.0], [0.0, 100.0], Spread(3.0, 3.0, 3.0)),
        ([], [100.0], None),
        ([100.0], [], None),
        ([100.0], [0.0], None),
    ],
)
def test_ratios_are_taken_pair_by_pair(ours: list[float], peers: list[float], expected: Spread | None) -> None:
    assert pairwise(ours, peers) == expected


def test_figures_are_medians_in_readable_units() -> None:
    figures = cell([100.0, 300.0, 200.0], [])
    assert figures.ratio() is None
    assert figures.figures(OURS)["rate"] == Spread(200.0, 100.0, 300.0)
    assert figures.figures(OURS)["front_mib"].median == 64
    assert figures.figures(OURS)["workers_mib"].median == 512


def test_the_table_shows_the_ratio_in_the_peers_row() -> None:
    report = Report({"machine": "two cores"}, [cell([200.0, 400.0], [100.0, 100.0])])
    rows = [line for line in report.as_markdown().splitlines() if line.startswith("| echo | 16")]
    assert rows == [
        "| echo | 16 | torchserve | 100 (100 to 100) | 1.00 | - | 2.00 | - | 3.00 (2.00 to 4.00) | 100 | 40 | 64 | 512 |",
        "| echo | 16 | ours | 300 (200 to 400) | 1.00 | - | 2.00 | - |  | 100 | 40 | 64 | 512 |",
    ]


def test_a_tail_is_shown_where_every_round_has_it() -> None:
    one = cell([100.0, 100.0], [])
    one.samples[OURS] = [
        replace(run, p90=3.0, p999=tail) for run, tail in zip(one.samples[OURS], (9, None), strict=True)
    ]
    assert "p999" not in one.figures(OURS)
    assert one.figures(OURS)["p90"].median == 3.0


def test_each_process_is_named_the_front_first() -> None:
    told = Report({}, [cell([1.0], [])], configurations={"echo": "batchSize 32"}).as_markdown()
    assert "| echo | ours | java 64, python 512 |" in told
    assert "- model-config.yaml of echo: batchSize 32" in told


def test_every_row_has_the_columns_of_the_head() -> None:
    report = Report({}, [cell([1.0], [1.0])], starts={"echo": {OURS: {"ping": 1.0, "answer": 2.0}}})
    tables = [block for block in report.as_markdown().split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        assert len({line.count("|") for line in table.strip().splitlines()}) == 1


@pytest.mark.parametrize(("faults", "valid"), [([], True), (["echo: 3 responses"], False)])
def test_a_fault_makes_the_run_invalid_and_says_so(faults: list[str], valid: bool) -> None:
    report = Report({}, [cell([1.0], [1.0])], faults=faults)
    assert json.loads(json.dumps(report.as_json()))["valid"] is valid
    assert ("**INVALID RUN**: echo: 3 responses" in report.as_markdown()) is not valid


def test_what_was_skipped_is_said() -> None:
    assert "Skipped: digits: no archive" in Report({}, skipped=["digits: no archive"]).as_markdown()


def test_raw_samples_are_in_the_json() -> None:
    written = json.loads(json.dumps(Report({}, [cell([200.0, 400.0], [100.0, 100.0])]).as_json()))
    servers = written["cells"][0]["servers"]
    assert [run["rate"] for run in servers[OURS]["samples"]] == [200.0, 400.0]
    assert servers[OURS]["figures"]["rate"]["noise"] == pytest.approx(2 / 3)
    assert written["cells"][0]["ratio"] == {"median": 3.0, "low": 2.0, "high": 4.0}
