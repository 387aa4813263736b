"""When adaptive is said to be no worse than another policy, and an archive with other options."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from benchmarks.config_override import override_config
from benchmarks.open_loop import Point
from benchmarks.policies import ADAPTIVE, FIXED, SINGLE, VARIANTS, judge, verdicts
from benchmarks.report import Cell, Report
from benchmarks.wrk import Sample


@pytest.mark.parametrize(
    ("ours", "others", "more", "holds"),
    [
        ([10.0, 12.0], [8.0, 9.0], True, True),
        ([8.0, 9.0], [10.0, 12.0], True, False),
        ([8.0, 10.0], [10.0, 12.0], True, True),  # they touch: no finding
        ([8.0, 9.0], [10.0, 12.0], False, True),
        ([10.0, 12.0], [8.0, 9.0], False, False),
        ([9.0, 12.0], [8.0, 9.5], False, True),
    ],
)
def test_ranges_that_overlap_are_no_finding(ours: list[float], others: list[float], more: bool, holds: bool) -> None:
    assert judge("", "", ours, others, more=more).holds is holds


def test_the_ratio_is_taken_round_by_round() -> None:
    # Both were slow in the second round.
    ratio = judge("", "", [10.0, 5.0], [5.0, 2.0], more=True).ratio
    assert ratio is not None
    assert (ratio.low, ratio.high) == (2.0, 2.5)


def cell(connections: int, **runs: tuple[float, float, float]) -> Cell:
    made = Cell("echo", connections)
    for name, (rate, p50, p99) in runs.items():
        made.samples[{"single": SINGLE}.get(name, name)] = [Sample(rate, 1000.0, p50, p99, p99)]
    return made


POINT = Point("echo", ADAPTIVE, 100, 100, 100, 0, 1.0, 2.0, 3.0, None, None, 0.1, 50, 60, True)


def failed(report: Report) -> list[tuple[str, str]]:
    return [(each.wish.partition(" ")[0], each.where) for each in verdicts(report) if not each.holds]


def test_each_cell_is_judged_by_its_rate_and_tail_and_a_lone_request_by_its_median() -> None:
    good = cell(1, adaptive=(10, 1, 2), fixed=(5, 2, 4), single=(10, 1, 2))
    assert len(list(verdicts(Report({}, [good])))) == 3
    assert failed(Report({}, [good])) == []
    slow = cell(16, adaptive=(4, 1, 5), fixed=(5, 2, 4))
    late = cell(1, adaptive=(10, 1.5, 2), fixed=(5, 2, 4), single=(10, 1, 2))
    assert failed(Report({}, [slow, late])) == [
        ("as", "echo, 16 connections"), ("p99", "echo, 16 connections"), ("a", "echo, 1 connections"),
    ]  # fmt: skip


def test_the_open_loop_is_judged_by_what_came_in_time_where_both_were_measured() -> None:
    fixed = replace(POINT, server=FIXED)
    assert failed(Report({}, points=[POINT, fixed])) == []
    assert failed(Report({}, points=[replace(POINT, goodput=90), fixed])) == [("as", "echo, 100/s offered")]
    assert failed(Report({}, points=[replace(POINT, p99=9.0), fixed])) == [("p99", "echo, 100/s offered")]
    assert list(verdicts(Report({}, points=[replace(POINT, fault="late"), fixed]))) == []


def test_an_archive_keeps_all_but_the_options(tmp_path: Path) -> None:
    archive = tmp_path / "m.mar"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("MAR-INF/MANIFEST.json", '{"model": {"configFile": "model-config.yaml"}}')
        made.writestr("model-config.yaml", "batchSize: 8\nmaxBatchDelay: 5\n")
        made.writestr("handler.py", "x = 1")
    copy = override_config(archive, tmp_path / "variant", VARIANTS[SINGLE])
    assert copy.name == "m.mar"
    with zipfile.ZipFile(copy) as read:
        assert yaml.safe_load(read.read("model-config.yaml")) == {"batchSize": 1, "maxBatchDelay": 5}
        assert read.read("handler.py") == b"x = 1"


def test_an_archive_without_options_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "m.mar"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("MAR-INF/MANIFEST.json", '{"model": {}}')
    with pytest.raises(ValueError, match=r"m.mar has no model-config.yaml"):
        override_config(archive, tmp_path / "variant", {})
