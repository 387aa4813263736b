"""Batches of like length: who shares one, who is never left behind, and what else of a batcher holds for them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.scheduler.batcher import Refuse, Run
from torchserve.scheduler.batchers import batcher_of
from torchserve.scheduler.job import Batch, ReleaseReason
from torchserve.scheduler.length_batcher import LengthBatcher
from torchserve.scheduler.length_groups import LOOKAHEAD
from torchserve.scheduler.policy import BatchPolicy, SharePolicy

from .doubles import Nobody, job

RUNNER = Nobody("r")
Costs = dict[int, tuple[float, float]]  # class -> seconds of a batch of one, and of each further job
PADDED: Costs = {0: (1.0, 0.1), 1: (2.0, 1.0), 2: (4.0, 4.0)}
FLAT: Costs = dict.fromkeys(range(3), (1.0, 0.01))
QUICK: Costs = dict.fromkeys(range(3), (0.005, 0.001))


def batcher(costs: Costs, queue: str = "", **named: Any) -> LengthBatcher:
    """A batcher that knows what batches cost, with a queue of jobs of these classes, the first of which have `named`."""
    made = LengthBatcher(BatchPolicy(4, length_classes=3))
    for length, (first, further) in costs.items():
        for size in (1, 2, 4, 1, 2, 4):
            jobs = tuple([job("", 0.0, length_class=length) for _ in range(size)])
            made._groups.record(Batch(0, jobs, ReleaseReason.FULL, 0.0, RUNNER), first + further * (size - 1))
    for at, length in enumerate(queue):
        made.offer(job(f"{at}{length}", 0.0, length_class=int(length), **(named if at == 0 else {})), 0.0)
    return made


def ids(run: object) -> str:
    assert isinstance(run, Run)
    return " ".join(each.id for each in run.batch.jobs)


def batches(made: LengthBatcher, *, worked: bool = False) -> list[str]:
    """The jobs of the batches that one runner gets, one after the other."""
    found: list[str] = []
    made.ready(RUNNER, 0.0)
    while made.queued:
        (run,) = made.collect(0.0)
        assert isinstance(run, Run)
        found.append(ids(run))
        made.ended(run.batch, 0.5, worked=worked)
    return found


@pytest.mark.parametrize(
    ("costs", "queue", "expected"),
    [
        pytest.param(PADDED, "0202", ["00 20", "12", "32"], id="short ones together, long ones one by one"),
        pytest.param(PADDED, "2000", ["02", "10 20 30"], id="the first goes first, though others would pay more"),
        pytest.param(PADDED, "000000", ["00 10 20 30", "40 50"], id="no batch is larger than it may be"),
        pytest.param(FLAT, "0120", ["00 11 22 30"], id="where length costs nothing, the order of the queue"),
        pytest.param({}, "0000", ["00", "10", "20", "30"], id="what is not known runs alone"),
        pytest.param({0: (1.0, 0.1)}, "0200", ["00 20 30", "12"], id="and isn't taken along"),
    ],
)
def test_who_shares_a_batch(costs: Costs, queue: str, expected: list[str]) -> None:
    assert batches(batcher(costs, queue)) == expected


def test_what_ran_alone_twice_is_known() -> None:
    assert batches(batcher({}, "000000"), worked=True) == ["00", "10", "20 30 40 50"]


def test_what_a_model_took_that_is_computed_otherwise_now_is_learnt_anew() -> None:
    made = batcher(PADDED, "000000")
    made.relearn(RUNNER)
    assert batches(made, worked=True) == ["00", "10", "20 30 40 50"]


def test_an_exclusive_job_runs_alone_and_teaches_nothing() -> None:
    made = batcher({}, "00", exclusive=True)
    assert batches(made, worked=True) == ["00", "10"]
    assert made._groups._singles["cpu"] == [1, 0, 0]


def test_a_job_is_waited_for_only_while_no_others_wait_than_those_of_the_batch() -> None:
    made = batcher(PADDED, "0")
    made.ready(RUNNER, 0.0)
    made.body_started(0.0)
    assert made.collect(0.0) == []
    assert made.wakeup() is not None
    made.offer(job("12", 0.0, length_class=2), 0.0)
    assert ids(made.collect(0.0)[0]) == "00"


def test_a_short_batch_is_handed_over_ahead_and_a_long_one_is_not() -> None:
    for costs, ahead in ((QUICK, ["00 10 20 30", "40 50 60 70"]), (PADDED, ["00 10 20 30"])):
        made = batcher(costs, "00000000")
        made._runners.latency(RUNNER).record(4, costs[0][0])
        made.ready(RUNNER, 0.0)
        assert [ids(each) for each in made.collect(0.0)] == ahead
    made = batcher(QUICK, "0000", exclusive=True)
    made.ready(RUNNER, 0.0)
    assert [ids(each) for each in made.collect(0.0)] == ["00"]


def test_nothing_is_handed_over_ahead_of_too_few() -> None:
    made = batcher(QUICK, "00000")
    made._runners.latency(RUNNER).record(4, 0.005)
    made.ready(RUNNER, 0.0)
    assert [ids(each) for each in made.collect(0.0)] == ["00 10 20 30"]


def test_deadlines_cut_a_batch_by_what_its_length_takes() -> None:
    made = batcher(PADDED)
    made.ready(RUNNER, 0.0)
    for name, deadline in (("a", 1.15), ("b", 9.0), ("c", 9.0)):
        made.offer(job(name, 0.0, length_class=0, deadline=deadline), 0.0)
    (run,) = made.collect(0.0)
    assert isinstance(run, Run)
    assert (ids(run), run.batch.reason) == ("a b", ReleaseReason.DEADLINE)


def test_a_job_that_would_be_late_by_itself_is_refused() -> None:
    made = batcher(PADDED)
    made.ready(RUNNER, 0.0)
    made.offer(job("a", 0.0, length_class=2, deadline=2.0), 0.0)
    (refused,) = made.collect(0.0)
    assert isinstance(refused, Refuse)
    assert str(refused.error) == "would take 4.000 s and has 2.000 s left"


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 1)), max_size=40), st.sampled_from([{}, PADDED, FLAT, QUICK])
)
def test_each_job_runs_once_and_the_first_in_the_queue_is_always_taken(
    jobs: list[tuple[int, int]], costs: Costs
) -> None:
    made = batcher(costs)
    made.ready(RUNNER, 0.0)
    ran: list[str] = []
    for at, (length, priority) in enumerate(jobs):
        made.offer(job(str(at), at / 1000, length_class=length, priority=priority), at / 1000)
    now = 1.0
    while made.queued:
        first = next(iter(made._queue))
        runs = made.collect(now)
        if not runs:  # the rule waits for the rest of a burst
            now = made.wakeup() or 0.0
        for at, run in enumerate(runs):
            assert isinstance(run, Run)
            assert at or run.batch.jobs[0] is first
            assert len(run.batch.jobs) <= 4
            ran += [each.id for each in run.batch.jobs]
            now += 0.5
            made.ended(run.batch, now, worked=True)
    assert sorted(ran, key=int) == [str(at) for at in range(len(jobs))]


def test_nothing_is_handed_over_ahead_behind_a_batch_that_is_overdue() -> None:
    made = batcher(QUICK, "0000")
    made.ready(RUNNER, 0.0)
    assert [ids(each) for each in made.collect(0.0)] == ["00 10 20 30"]
    for name in "abcd":
        made.offer(job(name, 100.0), 100.0)
    assert made.collect(100.0) == []


def test_a_job_overtakes_no_more_than_a_few_batches() -> None:
    made = batcher(PADDED, "0" + "2" * (4 * LOOKAHEAD) + "0")
    made.ready(RUNNER, 0.0)
    assert ids(made.collect(0.0)[0]) == "00"


def test_two_kinds_of_device_are_measured_apart() -> None:
    made = batcher(PADDED, "0202")
    other = Nobody("s", "cuda")
    made.ready(other, 0.0)
    assert ids(made.collect(0.0)[0]) == "00"


@pytest.mark.parametrize(
    ("policy", "by_length"),
    [
        (BatchPolicy(length_classes=2), True),
        (BatchPolicy(), False),
        (BatchPolicy(length_classes=2, rule="eager"), False),
        (BatchPolicy(length_classes=2, shares=SharePolicy()), False),
        (BatchPolicy(length_classes=2, continuous=True), False),
    ],
)
def test_where_length_counts(policy: BatchPolicy, by_length: bool) -> None:
    assert isinstance(batcher_of(policy), LengthBatcher) == by_length


def test_there_is_a_class_at_least() -> None:
    with pytest.raises(ValueError, match="length_classes must be a whole number >= 1, not 0"):
        BatchPolicy(length_classes=0)
