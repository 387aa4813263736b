"""Adaptive's waits: who comes in a burst is waited for where sharing a batch pays, and nobody else is."""

from __future__ import annotations

import random

import pytest

from torchserve.scheduler.adaptive import Adaptive, may_prefetch
from torchserve.scheduler.job import ReleaseReason
from torchserve.scheduler.latency_model import LatencyModel
from torchserve.scheduler.rules import QueueView


def latency(**curve: float) -> LatencyModel:
    """Of batches up to 8; `_4=0.016` says that one of 4 takes 16 ms."""
    learnt = LatencyModel(8)
    for size, seconds in curve.items():
        for _ in range(3):
            learnt.record(int(size[1:]), seconds)
    return learnt


SHARED = latency(_1=0.010, _8=0.012)  # a batch of two saves nearly 10 ms
LINEAR = latency(_1=0.010, _8=0.080)


def loop_of_clients(rule: Adaptive, known: LatencyModel, clients: int, gap: float) -> float:
    """Several rounds of: a batch ends, and all clients send their next request, `gap` apart. Returns the time."""
    now = 0.0
    rule.decide(QueueView(1, 0.0, 0.0, 0, 0.0, 0.0, known))
    for _ in range(20):
        rule.ended(now)
        for _ in range(clients):
            now += gap
            rule.arrived([now])
        now += 0.012
    return now


@pytest.mark.parametrize(
    ("known", "clients", "gap", "holds"),
    [
        (SHARED, 7, 0.0005, True),
        (SHARED, 7, 0.0001, True),
        (SHARED, 2, 0.0005, False),  # half of them are followed by nobody
        (SHARED, 7, 0.004, False),  # they come no faster than on the whole: by chance
        (SHARED, 7, 0.05, False),
        (SHARED, 0, 0.0, False),
        (LINEAR, 7, 0.0005, False),
        (LatencyModel(8), 7, 0.0005, False),  # nothing is known: no wait
    ],
)
def test_when_the_rest_of_a_burst_is_waited_for(known: LatencyModel, clients: int, gap: float, holds: bool):
    rule = Adaptive(8, 0.1)
    now = loop_of_clients(rule, known, clients, gap)
    rule.ended(now)
    for _ in range(min(clients, 2)):
        rule.arrived([now := now + gap])
    decision = rule.decide(QueueView(1, now, now, 0, 0.0, now, known))
    if holds:
        assert decision == pytest.approx(now + 2 * gap)
        assert rule.decide(QueueView(1, now, now, 0, 0.0, decision, known)) is ReleaseReason.FREE_WORKER
    else:
        assert isinstance(decision, ReleaseReason)


def test_a_lone_client_in_a_loop_never_waits():
    """Each of its requests comes soon after the answer: that nobody else comes is learnt, too."""
    rule, now = Adaptive(8, 0.1), 0.0
    for number in range(50):
        rule.arrived([now := now + 0.0002])
        decision = rule.decide(QueueView(1, now, now, 0, 0.0, now, SHARED))
        assert decision is ReleaseReason.FREE_WORKER, number
        rule.ended(now := now + 0.010)


def test_arrivals_at_their_own_pace_are_not_waited_for():
    """However fast they come: those that come while a batch runs have the next one."""
    draw = random.Random(1)
    for seconds_per_job in (0.0005, 0.002, 0.004, 0.02):
        rule, now, ends, held = Adaptive(8, 0.1), 0.0, 0.0, 0
        for _ in range(2000):
            now += draw.expovariate(1 / seconds_per_job)
            while ends < now and rule._latest_at < ends:
                rule.ended(ends)
            rule.arrived([now])
            if now >= ends:
                held += not isinstance(rule.decide(QueueView(1, now, now, 0, 0.0, now, SHARED)), ReleaseReason)
                ends = now + 0.010
        assert held <= 40, seconds_per_job


def test_those_that_waited_for_the_worker_wait_for_the_returning_clients():
    """Three of four are answered and the fourth waits: sharing beats taking turns for ever."""
    rule = Adaptive(8, 0.1)
    now = loop_of_clients(rule, SHARED, 3, 0.0005)
    rule.ended(now)
    assert rule.decide(QueueView(1, now - 0.01, now, 0, 0.0, now, SHARED)) == pytest.approx(now + 0.001)


@pytest.mark.parametrize(
    ("delay", "waited", "stood_idle", "due"),
    [
        (0.1, 0.0, 0.0, 0.001),
        (0.0005, 0.0, 0.0, 0.0005),  # never past maxBatchDelay
        (0.1, 0.0997, 0.0, 0.0003),
        (0.1, 0.05, 0.0097, 0.0003),  # nor for longer than a batch takes, from when a worker was free
        (0.1, 0.05, 0.02, 0.0),
    ],
)
def test_no_wait_is_longer_than_its_bounds(delay: float, waited: float, stood_idle: float, due: float):
    rule = Adaptive(8, delay)
    now = loop_of_clients(rule, SHARED, 7, 0.0005)
    rule.arrived([now := now + 0.0005])
    decision = rule.decide(QueueView(1, now - waited, now - stood_idle, 0, 0.0, now, SHARED))
    assert decision == pytest.approx(now + due) if due else decision is ReleaseReason.FREE_WORKER


@pytest.mark.parametrize(
    ("queued", "known", "ahead"),
    [
        (8, SHARED, True),
        (7, SHARED, False),
        (1, LINEAR, True),  # batches gain nothing: one by one, without a gap
        (8, LatencyModel(8), False),
        (8, latency(_1=0.1, _8=0.12), False),
    ],
)
def test_what_may_go_ahead(queued: int, known: LatencyModel, ahead: bool):
    assert may_prefetch(queued, known) is ahead


@pytest.mark.parametrize("at_a_time", [2, 3, 60])
def test_arrivals_that_are_told_together_teach_the_same_as_one_by_one(at_a_time: int):
    draw = random.Random(3)
    one, many, now = Adaptive(8, 0.1), Adaptive(8, 0.1), 0.0
    for rule in (one, many):
        rule.decide(QueueView(1, 0.0, 0.0, 0, 0.0, 0.0, SHARED))
    for _ in range(20):
        times = [now := now + draw.choice((0.0002, 0.0005, 0.02)) for _ in range(60)]
        for each in times:
            one.arrived([each])
        for begin in range(0, 60, at_a_time):
            many.arrived(times[begin : begin + at_a_time])
        for rule in (one, many):
            rule.ended(now + 0.001)
    assert [getattr(one, name) for name in ("_mean_gap", "_latest_at")] == [many._mean_gap, many._latest_at]
    assert [(each.share, each.gap) for each in (one._after_arrival, one._after_answers)] == [
        (each.share, each.gap) for each in (many._after_arrival, many._after_answers)
    ]
