"""What is said of rivals that stream text: ratios within a round, for each number of streams."""

from __future__ import annotations

import pytest

from benchmarks.generation_rivals import OURS, SERVE, STREAMER, conversations, ratios, tell_rivals
from benchmarks.generation_runs import Run


def run(rate: float, first: float) -> Run:
    return Run(10.0, int(rate * 10), [first, first, first * 3])


def test_ratios_are_those_of_neighbours_in_time() -> None:
    """The machine was half as fast in the second round."""
    assert ratios([run(100, 0.1), run(50, 0.2)], [run(80, 0.15), run(40, 0.3)]) == pytest.approx((1.25, 1.5))


@pytest.mark.parametrize(("first", "met"), [(0.2, True), (0.05, False)])
def test_ahead_is_ahead_with_each_number_of_streams_by_both_measures(
    first: float, capsys: pytest.CaptureFixture[str], *, met: bool
) -> None:
    table = {
        count: {OURS: [run(100, 0.1)], SERVE: [run(50, 0.2)], STREAMER: [run(90, first if count == 4 else 0.2)]}
        for count in (1, 4)
    }
    serve, streamer = tell_rivals("tiny", table)
    assert serve.startswith("met ")
    assert streamer.startswith("met " if met else "not met")
    assert "| 4 | 100.0 | 100 | 50.0 | 200 |" in capsys.readouterr().out


def test_no_two_prompts_begin_alike_and_lengths_vary() -> None:
    asked = [each for turn in range(4) for count in (1, 4, 16) for each in conversations(count, turn)]
    assert len({each.text[:20] for each in asked}) == len(asked)
    assert len({each.answer for each in asked}) > len(asked) / 3
