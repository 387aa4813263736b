from __future__ import annotations

import math

import pytest

from torchserve.scheduler.adaptive import Adaptive
from torchserve.scheduler.job import ReleaseReason
from torchserve.scheduler.latency_model import LatencyModel
from torchserve.scheduler.policy import RULES, BatchPolicy
from torchserve.scheduler.rules import Eager, Fixed, QueueView


def test_defaults_are_torchserves():
    policy = BatchPolicy()
    assert (policy.batch_size, policy.max_batch_delay, policy.queue_size, policy.rule) == (1, 0.1, 100, "adaptive")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("batch_size", -3),
        ("batch_size", 2.5),
        ("batch_size", "8"),
        ("batch_size", True),
        ("queue_size", 0),
        ("queue_size", None),
        ("max_batch_delay", -0.001),
        ("max_batch_delay", math.inf),
        ("max_batch_delay", math.nan),
        ("max_batch_delay", "0.1"),
        ("max_batch_delay", True),
        ("rule", "lazy"),
        ("padded_sizes", (1, 4, 2)),
        ("padded_sizes", (2, 2)),
    ],
)
def test_a_bad_value_is_refused_by_name(field: str, value: object):
    with pytest.raises(ValueError, match=field) as caught:
        BatchPolicy(**{field: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "why"),
    [((0, 8), ">= 1, not 0"), ((1, 8.0), "not 8.0"), ((True, 8), "not True"), ((1, 4), "reach 8, the batch_size")],
)
def test_padded_sizes_are_counts_up_to_a_whole_batch(sizes: tuple, why: str):
    with pytest.raises(ValueError, match=f"padded_sizes must .*{why}"):
        BatchPolicy(8, padded_sizes=sizes)
    assert BatchPolicy(8, padded_sizes=(1, 9)).padded_sizes == (1, 9)


@pytest.mark.parametrize("delay", [0, 0.0, 5])
def test_a_delay_may_be_zero_or_whole(delay: float):
    assert BatchPolicy(max_batch_delay=delay).max_batch_delay == delay


# Batches of 4, a delay of 1 s; the oldest job came at 10.0.
@pytest.mark.parametrize(
    ("rule", "queued", "bodies_arriving", "latest", "now", "decision"),
    [
        (Fixed, 4, 0, 0.0, 10.0, ReleaseReason.FULL),
        (Fixed, 9, 3, 10.0, 99.0, ReleaseReason.FULL),
        (Fixed, 3, 0, 0.0, 10.5, 11.0),
        (Fixed, 3, 0, 0.0, 11.0, ReleaseReason.DELAY),
        (Fixed, 1, 5, 10.9, 11.5, ReleaseReason.DELAY),
        (Eager, 4, 1, 10.0, 10.0, ReleaseReason.FULL),
        (Eager, 1, 0, 0.0, 10.0, ReleaseReason.FREE_WORKER),
        (Eager, 3, 0, 0.0, 99.0, ReleaseReason.FREE_WORKER),
        (Eager, 3, 1, 10.2, 10.5, 11.0),
        (Eager, 3, 1, 10.2, 11.0, ReleaseReason.DELAY),
        (Eager, 1, 1, 9.7, 10.5, 10.7),  # the body began at 9.7
        (Eager, 1, 1, 8.5, 10.0, ReleaseReason.DELAY),  # and this one has had its second already
    ],
)
def test_rules(
    rule: type[Fixed | Eager],
    queued: int,
    bodies_arriving: int,
    latest: float,
    now: float,
    decision: ReleaseReason | float,
):
    view = QueueView(queued, 10.0, 10.0, bodies_arriving, latest, now, LatencyModel(4))
    assert rule(4, 1.0).decide(view) == decision


def test_every_rule_has_a_name():
    assert {"adaptive": Adaptive, "eager": Eager, "fixed": Fixed} == RULES
