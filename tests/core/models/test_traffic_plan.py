"""What a request for shares means, and that whatever doesn't add up is refused by its name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import BadRequest
from torchserve.core.models.traffic_plan import TrafficPlan


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({}, "No version is given"),
        ({"1.0": "90", "2.0": "5"}, "add up to 95, not 100: 1.0=90, 2.0=5"),
        ({"1.0": "90", "2.0": "20"}, "add up to 110, not 100"),
        ({"1.0": "101"}, "1.0 must be a whole number from 0 to 100"),
        ({"1.0": "-1", "2.0": "101"}, "1.0 must be a whole number"),
        ({"1.0": "50.5", "2.0": "49.5"}, "1.0 must be a whole number"),
        ({"1.0": "nan"}, "1.0 must be"),
        ({"/x": "100"}, "Invalid model version"),
        ({f"v{at}": "0" for at in range(17)}, "at most 16 versions"),
        ({"1.0": "100", "sticky": "a b"}, "sticky must be the name of a header"),
        ({"1.0": "90", "2.0": "10", "shadow": "2.0"}, "answers requests itself"),
        ({"shadow": "1.0"}, "Version 1.0 answers requests itself"),
        ({"1.0": "100", "shadow_percent": "5"}, "shadow_percent belongs to shadow"),
        ({"1.0": "100", "step": "5"}, "step belongs to rollout"),
        ({"shadow": "2.0", "shadow_percent": "0"}, "shadow_percent must be a whole number from 1 to 100"),
        ({"1.0": "100", "rollout": "2.0"}, "needs a percentage of it"),
        ({"1.0": "0", "2.0": "100", "rollout": "2.0"}, "below 100"),
        ({"rollout": "1.0", "step": "100"}, "below 100|beside that of another"),
        ({"rollout": "2.0", "max_error_rate": "2"}, "max_error_rate must be a number from 0 to 1"),
    ],
)
def test_a_plan_that_does_not_add_up_is_refused_and_named(given_: dict[str, str], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        TrafficPlan.read(given_, "1.0")


def test_a_rollout_alone_begins_with_its_first_step() -> None:
    plan = TrafficPlan.read({"rollout": "2.0", "step": "5", "every": "90"}, "1.0")
    assert plan.weights == {"1.0": 95, "2.0": 5}


@given(
    st.dictionaries(
        st.sampled_from(["1.0", "2.0", "sticky", "shadow", "shadow_percent", "rollout", "step", "every", "\ud800"])
        | st.text(max_size=8),
        st.sampled_from(["100", "50", "0", "2.0", "x", "1e9", ""]) | st.text(max_size=8),
        max_size=6,
    )
)
def test_whatever_is_asked_is_a_plan_of_100_percent_or_a_bad_request(wanted: dict[str, str]) -> None:
    try:
        plan = TrafficPlan.read(wanted, "1.0")
    except BadRequest:
        return
    assert sum(plan.weights.values()) in ({100} if plan.weights else {0})
    assert TrafficPlan.from_json(json.loads(json.dumps(plan.as_json())), "1.0") == plan


@pytest.mark.parametrize(
    "saved", [{"weights": []}, {"weights": {"1.0": None}}, {"shadow": 3}, {"rollout": {}, "weights": 1}]
)
def test_a_snapshot_that_no_server_wrote_is_refused(saved: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        TrafficPlan.from_json(saved, "1.0")
