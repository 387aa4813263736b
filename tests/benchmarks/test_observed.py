"""What the report of observation makes of its figures; that it runs is for a look at the machine it runs on."""

from __future__ import annotations

from benchmarks.observed import Run, table


def test_each_case_is_compared_with_the_first_round_by_round() -> None:
    runs = {
        "absent": [Run(1000, 1.0, 100.0), Run(500, 3.0, 200.0)],
        "sampled": [Run(800, 2.0, 150.0), Run(450, 4.0, 210.0)],
    }
    _, _, absent, sampled = table(runs)
    assert absent == "| absent | 750 | 2.00 | 150.0 (100.0 to 200.0) |  |  |"
    assert sampled == "| sampled | 625 | 3.00 | 180.0 (150.0 to 210.0) | 30.0 (10.0 to 50.0) | 0.85 (0.80 to 0.90) |"
