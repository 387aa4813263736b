"""Shares are exact, clients stay where they are, and a rollout steps by what it sees: all without a clock."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.models.rollout import shared_out
from torchserve.core.models.traffic import Traffic
from torchserve.core.models.traffic_plan import TrafficPlan


def traffic(said: list[str] | None = None, **given_: str) -> Traffic:
    wanted = {key.replace("v", "", 1) if key[0] == "v" else key: text for key, text in given_.items()}
    return Traffic("m", TrafficPlan.read(wanted, "1"), 0.0, (said if said is not None else []).append)


def test_any_hundred_requests_have_the_exact_shares() -> None:
    subject = traffic(v1="83", v2="10", v3="7")
    chosen = [subject.choose({}) for _ in range(500)]
    for begin in range(0, 500, 100):
        assert Counter(chosen[begin : begin + 100]) == {"1": 83, "2": 10, "3": 7}
    assert max(len(run) for run in "".join(map(str, chosen)).split("2")) < 12  # spread, not in one go


def test_a_client_stays_and_only_those_move_whose_share_grew() -> None:
    before, after = traffic(v1="90", v2="10", sticky="X-User"), traffic(v1="70", v2="30", sticky="x-user")
    clients = [{"x-uSER": f"user {at}", "other": str(at)} for at in range(2000)]
    first, second = [before.choose(each) for each in clients], [after.choose(each) for each in clients]
    assert first == [before.choose(each) for each in clients]
    assert 120 < first.count("2") < 280
    assert 500 < second.count("2") < 700
    assert all(now == "2" for was, now in zip(first, second, strict=True) if was == "2")
    assert Counter(before.choose({"x-user": ""}) for _ in range(100)) == {"1": 90, "2": 10}  # none: by turns


def test_copies_are_a_share_and_never_more_run_than_the_limit() -> None:
    subject = traffic(shadow="2", shadow_percent="25", shadow_limit="3")
    got = [subject.copy_to() for _ in range(100)]
    assert (got.count("2"), subject.copies_running, subject.outcomes["dropped"]) == (3, 3, 22)
    subject.copy_ended()
    assert [subject.copy_to() for _ in range(4)].count("2") == 1
    assert subject.choose({}) is None


def run(subject: Traffic, version: str, count: int, seconds: float = 0.1, *, failed: int = 0, now: float = 0.0) -> None:
    for at in range(count):
        subject.ended(version, seconds, failed=at < failed, now=now)


def test_a_version_that_does_well_steps_up_to_all_of_the_traffic() -> None:
    said: list[str] = []
    subject = traffic(said, rollout="2", step="40", every="60", min_requests="10")
    run(subject, "2", 50, now=59.9)
    assert subject.weights == {"1": 60, "2": 40}
    now = 0.0
    for weights in ({"1": 20, "2": 80}, {"1": 0, "2": 100}):
        now += 60
        run(subject, "1", 20, now=now)
        run(subject, "2", 10, now=now)
        assert subject.weights == weights
    assert said[0].startswith("Model m version 2 goes from 40 % to 80 %: 0 of ")
    assert subject.described()["rollout"]["state"] == "complete"
    assert "rollout" not in subject.saved()


def test_too_few_requests_decide_nothing_however_long_it_takes() -> None:
    subject = traffic(rollout="2", min_requests="10", every="1")
    run(subject, "2", 9, 99.0, now=1e6)
    assert subject.weights == {"1": 90, "2": 10}


def test_failures_take_all_at_once_and_the_reason_is_told() -> None:
    said: list[str] = []
    subject = traffic(said, rollout="2", step="20", min_requests="100", max_error_rate="0.02")
    run(subject, "2", 10, failed=2, now=1.0)  # 2 of at least 100 may fail
    assert subject.weights["2"] == 20
    run(subject, "2", 1, failed=1, now=1.0)
    assert subject.weights == {"1": 100, "2": 0}
    assert said == [
        "Model m version 2 goes from 20 % to 0 %: 3 of 11 requests failed, and at most 2.00% may (max_error_rate)"
    ]
    run(subject, "2", 1000, now=1e6)
    assert subject.weights["2"] == 0
    assert subject.saved()["weights"] == {"1": 100, "2": 0}


def test_failures_of_the_others_are_not_held_against_it() -> None:
    subject = traffic(rollout="2", every="1", min_requests="10")
    run(subject, "1", 100, failed=100, now=0.5)
    run(subject, "2", 10, now=2.0)
    assert subject.weights["2"] == 20


def test_a_p99_that_is_too_long_takes_all_and_both_numbers_are_told() -> None:
    said: list[str] = []
    subject = traffic(said, rollout="2", every="1", min_requests="10", max_p99_ratio="1.5")
    run(subject, "1", 100, 0.1, now=0.5)
    run(subject, "2", 10, 0.16, now=2.0)
    assert subject.weights["2"] == 0
    assert "its p99 of 160.0 ms is over 1.5 times the other versions' 100.0 ms" in said[0]


def test_the_others_p99_is_remembered_once_they_have_little_traffic() -> None:
    subject = traffic(rollout="2", every="1", min_requests="10", step="50")
    run(subject, "1", 100, 0.1, now=0.5)
    run(subject, "2", 10, 0.1, now=2.0)
    assert subject.weights["2"] == 100 or subject.weights["2"] == 50
    subject = traffic(rollout="2", every="1", min_requests="10", step="30")
    run(subject, "1", 100, 0.1, now=0.5)
    run(subject, "2", 10, 0.1, now=2.0)
    run(subject, "1", 3, 9.0, now=2.5)
    run(subject, "2", 10, 0.4, now=4.0)
    assert subject.weights["2"] == 0


@given(st.lists(st.integers(0, 100), min_size=2, max_size=6).filter(any), st.integers(0, 100))
def test_shared_out_always_adds_up(weights: list[int], weight: int) -> None:
    named = {str(at): each for at, each in enumerate(weights)}
    found = shared_out(named, "0", weight)
    assert sum(found.values()) == 100
    assert found["0"] == weight
    assert list(found) == list(named)


@pytest.mark.parametrize("kept", [0, 3])
def test_a_stream_of_outcomes_is_bounded_in_memory(kept: int) -> None:
    subject = traffic(rollout="2", every="3600")
    run(subject, "2", 10_000 + kept)
    assert subject.rollout is not None
    assert len(subject.rollout._own) == 4096
