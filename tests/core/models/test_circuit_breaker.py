"""A service that fails is left alone, for longer each time, and is tried by one request at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.models.circuit_breaker import FAILURES, LONGEST, SHORTEST, CircuitBreaker


def opened(now: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for _ in range(FAILURES):
        assert breaker.allows(now)
        breaker.failed(now)
    return breaker


def test_failures_in_a_row_open_it_and_an_answer_between_them_does_not() -> None:
    breaker = CircuitBreaker()
    for _ in range(10):
        for _ in range(FAILURES - 1):
            breaker.failed(0.0)
        breaker.succeeded()
    assert breaker.closed
    assert not opened().closed


def test_one_trial_at_a_time_once_the_pause_is_over() -> None:
    breaker = opened()
    assert not breaker.allows(SHORTEST - 0.01)
    assert breaker.would_allow(SHORTEST)
    assert breaker.allows(SHORTEST)
    assert not breaker.allows(SHORTEST + 5.0), "another trial is under way"
    breaker.succeeded()
    assert breaker.closed
    assert breaker.allows(SHORTEST)


def test_a_trial_that_fails_doubles_the_pause_up_to_a_bound() -> None:
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(8):
        began = now
        while not breaker.allows(now):
            now += 0.5
        pauses.append(now - began)
        breaker.failed(now)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST, LONGEST, LONGEST]


def test_a_trial_that_is_given_up_leaves_room_for_another() -> None:
    breaker = opened()
    assert breaker.allows(SHORTEST)
    breaker.abandoned()
    assert breaker.allows(SHORTEST)


def test_failures_of_what_was_under_way_do_not_put_the_trial_off() -> None:
    breaker = opened()
    breaker.failed(0.9)
    assert breaker.allows(SHORTEST)


@given(st.lists(st.tuples(st.sampled_from(["ask", "well", "fails", "left"]), st.floats(0, 40)), max_size=60))
def test_it_never_stays_open_for_ever_and_never_lets_two_trials_through(steps: list[tuple[str, float]]) -> None:
    breaker, now, under_way = CircuitBreaker(), 0.0, 0
    for what, seconds in steps:
        now += seconds
        if what == "ask":
            trial = not breaker.closed
            if breaker.allows(now):
                under_way += 1
                assert not trial or not breaker.allows(now)
        elif under_way:
            under_way -= 1
            {"well": breaker.succeeded, "fails": lambda now=now: breaker.failed(now), "left": breaker.abandoned}[what]()
    breaker.abandoned()
    assert breaker.allows(now + LONGEST)
