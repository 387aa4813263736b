"""SpareTime: when the model is worked on and when requests are answered, as tables of what happens and what then may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.backend.spare_time import BETWEEN, FIRST, QUIET, SpareTime


def test_the_requests_that_waited_for_the_load_come_first() -> None:
    spare = SpareTime(100.0)
    assert spare.wait(100.0) == FIRST
    assert not spare.owes(100.0)
    assert spare.wait(100.0 + FIRST) == 0.0


def test_a_step_begins_once_no_request_has_come_for_a_while() -> None:
    spare = SpareTime(0.0)
    spare.answered(10.0)
    assert spare.wait(10.0) == pytest.approx(QUIET)
    assert spare.wait(10.0 + QUIET) == 0.0
    spare.answered(10.0 + QUIET)
    assert spare.wait(10.0 + QUIET) == pytest.approx(QUIET)


def test_requests_that_never_pause_leave_a_tenth_of_the_time() -> None:
    spare = SpareTime(0.0)
    spare.begins(5.0)
    spare.ends(7.0)
    assert not spare.owes(7.0 + BETWEEN * 2 - 0.1)
    assert spare.owes(7.0 + BETWEEN * 2)


@given(costs=st.lists(st.floats(0.001, 10.0), min_size=1, max_size=50))
def test_under_load_the_share_holds_whatever_steps_cost(costs: list[float]) -> None:
    spare, now, steps = SpareTime(0.0), 0.0, 0.0
    for cost in costs:
        while not spare.owes(now):
            now += 0.1
            spare.answered(now)
        spare.begins(now)
        now += cost
        steps += cost
        spare.ends(now)
    most = max(costs)
    assert steps <= now / (1 + BETWEEN) + most, "the last step's requests are still to come"
