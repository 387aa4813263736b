"""When a round of the log is written at once, and when it waits for further entries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.logs.pace import BURST, EACH, LONGEST, RATE, SHORTEST, Pace


def after(*rounds: tuple[float, int]) -> Pace:
    """Return a pace that has seen rounds, each so many seconds after the one before and of so many entries."""
    pace, now = Pace(), 100.0
    for elapsed, entries in rounds:
        now += elapsed
        pace.pause(now)
        pace.wrote(entries)
    return pace


@pytest.mark.parametrize(
    ("rounds", "elapsed", "pause"),
    [
        ((), 0.0, 0.0),
        (((1.0, 4),), 0.0, 0.0),  # the further lines of one request
        (((1.0, 4),) * 10, 1.0, 0.0),
        (((0.005, 4),) * 500, 0.005, 0.0),  # 200 requests a second, for as long as they come
        (((0.001, 4),) * 500, 0.001, 4 * EACH),  # 1,000 a second
        (((0.0, 1),) * 30, 0.0, SHORTEST),
        (((0.0, int(BURST) + 1),), 0.0, 21 * EACH),
        (((0.0, 10_000),), 0.0, LONGEST),
        (((0.0, 10_000),), 10_000 / RATE, 0.0),  # it has become quiet
    ],
)
def test_the_pause(rounds: tuple[tuple[float, int], ...], elapsed: float, pause: float) -> None:
    now = 100.0 + sum(each for each, _ in rounds) + elapsed
    assert after(*rounds).pause(now) == pytest.approx(pause)


@given(st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(0, 100_000)), max_size=30))
def test_no_line_waits_long(rounds: list[tuple[float, int]]) -> None:
    pace, now = Pace(), 0.0
    for elapsed, entries in rounds:
        now += elapsed
        pause = pace.pause(now)
        assert pause == 0.0 or SHORTEST <= pause <= LONGEST
        pace.wrote(entries)
