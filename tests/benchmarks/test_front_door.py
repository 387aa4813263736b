"""What the front door's report makes of its figures; that it runs is for a look at the machine it runs on."""

from __future__ import annotations

from benchmarks.front_door import Finding, Run, compared, quick
from benchmarks.report import Spread


def test_a_line_says_whether_its_target_is_met() -> None:
    assert str(Finding("a", "1", "≤ 2", met=True)) == "| a | 1 | ≤ 2 | yes |"
    assert str(Finding("a", "3", "≤ 2", met=False)) == "| a | 3 | ≤ 2 | **no** |"
    assert str(Finding("a", "3")) == "| a | 3 |  |  |"
    assert [quick("a", Spread(median, 1, 99)).met for median in (50, 50.1)] == [True, False]


def test_the_servers_are_compared_round_by_round() -> None:
    rates = {"everything on": [80, 190, 90], "everything off": [100, 200, 100], "torchserve": [90, 200, 100]}
    runs = {name: [Run(rate, 1e4 / rate) for rate in of_one] for name, of_one in rates.items()}
    shown, spent, off, torchserve = compared(16, runs)
    assert shown.figures == "everything on 90; everything off 100; torchserve 100"
    assert spent.figures == "everything on 111; everything off 100; torchserve 100"
    assert (off.figures, off.met) == ("0.90 (0.80 to 0.95)", True)
    assert (torchserve.figures, torchserve.met) == ("0.90 (0.89 to 0.95)", False)
    del runs["torchserve"]
    assert len(list(compared(16, runs))) == 3
