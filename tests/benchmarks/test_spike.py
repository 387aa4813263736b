"""What is kept of a spike, its row, and its picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.open_loop import OpenLoad, scenario_for
from benchmarks.process import ServerProcess
from benchmarks.report import Report
from benchmarks.spike import AFTER, CALM, LASTS, Spike, draw, of_outcome, table
from benchmarks.workload import Workload
from torchserve.cli.loadgen.outcome import Outcome
from torchserve.cli.loadgen.scenario import Open
from torchserve.cli.loadgen.tally import Tally

WORKLOAD = Workload("echo", Path("echo.mar"), b"x", "text/plain", lambda n: [b"%d" % i for i in range(n)], bytes)
LOAD = Open(50.0, "spike", spike=(CALM, CALM + LASTS), factor=4.0)
WHOLE = CALM + LASTS + AFTER


def seen(tmp_path: Path, late_after: int) -> Spike:
    """During the spike a tenth is in time, and in some seconds after it half."""
    tally = Tally(offered=1000)
    for second in range(WHOLE):
        in_spike = CALM <= second < CALM + LASTS
        due = 200 if in_spike else 50
        suffers = CALM + LASTS <= second < CALM + LASTS + late_after
        tally.by_second[second] = [due, due // 10 if in_spike else due // 2 if suffers else due]
    tally.count("right")
    made = replace(
        scenario_for(ServerProcess("it", tmp_path, 1234, "/"), WORKLOAD, OpenLoad(50.0, WHOLE, 0.05)), load=LOAD
    )
    return of_outcome("it", "echo", LOAD, Outcome(made, tally, float(WHOLE), 3.0, [], True, 1))


@pytest.mark.parametrize(
    ("late_after", "recovery", "told"), [(0, 0, "0"), (7, 7, "7"), (AFTER, None, f"not in {AFTER}")]
)
def test_a_spike_ends_when_requests_are_in_time_for_good(
    tmp_path: Path, late_after: int, recovery: int | None, told: str
) -> None:
    one = seen(tmp_path, late_after)
    assert (one.before, one.peak, one.goodput, one.recovery) == (50.0, 200.0, 20.0, recovery)
    assert one.seconds[CALM] == (200, 20)
    assert len(one.seconds) == WHOLE
    (row,) = [line for line in table([one], 0.05) if line.startswith("| echo")]
    assert row == f"| echo | it | 50 | 200 | 20 | 0 | - | {told} |"


def test_a_spike_that_is_no_measurement_says_so(tmp_path: Path) -> None:
    lines = table([replace(seen(tmp_path, 0), fault="the generator was late")], 0.05)
    assert any("it **invalid**" in line for line in lines)
    assert lines[-1] == "- echo, it: the generator was late"


def test_a_report_has_its_spikes(tmp_path: Path) -> None:
    report = Report({}, spikes=[seen(tmp_path, 3)])
    assert "| echo | it | 50 | 200 | 20 | 0 | - | 3 |" in report.as_markdown()
    (kept,) = report.as_json()["spikes"]  # pyright: ignore[reportGeneralTypeIssues]
    assert kept["recovery"] == 3


def test_a_picture_for_each_workload(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    one = seen(tmp_path, 3)
    drawn = draw([one, replace(one, server="other"), replace(one, workload="digits")], 0.05, tmp_path / "out")
    assert [picture.name for picture in drawn] == ["spike-echo.png", "spike-digits.png"]
