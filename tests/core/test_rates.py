"""Rates, quantiles and means between two readings, as `torchserve top` and the dashboard show them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.rates import grown, grown_by, grown_counts, mean_size, quantile, recent

BOUNDS = [1.0, 2.0, 4.0]
ROW: dict[str, Any] = {
    "requests": 10, "succeeded": 5, "sizes": {"1": 2, "4": 1}, "refused": {"queue_full": 1}, "failed": {},
    "latency": [1, 1, 0, 0], "waited": [0, 0, 0, 0],
}  # fmt: skip


def test_a_total_that_is_smaller_than_before_was_reset() -> None:
    assert (grown(5, 3), grown(3, 5), grown(3, 3)) == (2, 3, 0)
    assert grown_by({"a": 5, "b": 1, "c": 2}, {"a": 3, "b": 1}) == {"a": 2, "c": 2}
    assert grown_counts([3, 1, 2], [1, 4]) == [2, 1, 2]


@pytest.mark.parametrize(
    ("share", "counts", "value"),
    [
        (0.5, [0, 0, 0, 0], None),
        (0.5, [2, 0, 0, 0], 0.5),
        (0.5, [0, 2, 0, 0], 1.5),
        (0.99, [1, 0, 1, 0], 3.96),
        (0.5, [0, 0, 0, 3], 4.0),  # beyond all bounds
        (1.0, [1, 1, 0, 0], 2.0),
    ],
)
def test_quantiles(share: float, counts: list[int], value: float | None) -> None:
    found = quantile(share, BOUNDS, counts)
    assert found == (value if value is None else pytest.approx(value))


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_has_no_smaller_quantile(counts: list[int], one: float, other: float) -> None:
    first, second = (quantile(share, BOUNDS, counts) for share in sorted((one, other)))
    assert (first is None) == (second is None) == (sum(counts) == 0)
    assert first is None or second is None or 0 <= first <= second + 1e-9 <= 4 + 1e-9


def test_what_has_happened_between_two_rows() -> None:
    now = ROW | {
        "requests": 30, "succeeded": 15, "sizes": {"1": 2, "4": 3}, "refused": {"queue_full": 3},
        "failed": {"handler": 1}, "latency": [1, 3, 0, 0],
    }  # fmt: skip
    assert recent(now, ROW, 10.0, {"latency": BOUNDS, "waited": BOUNDS}) == {
        "seconds": 10.0, "arrivals": 2.0, "goodput": 1.0, "refused": {"queue_full": 2}, "failed": {"handler": 1}, "refusedRate": 0.2,
        "failedRate": 0.1, "batch": 4.0, "p50": 1.5, "p99": pytest.approx(1.99), "waited99": None,
    }  # fmt: skip
    assert mean_size({}) is None


def test_what_a_language_model_has_generated() -> None:
    bounds = dict.fromkeys(("latency", "waited", "firstToken", "nextToken"), BOUNDS)
    before = ROW | {"text": {"tokens": 10, "promptTokens": 5}, "firstToken": [0, 0, 0, 0]}
    now = before | {"text": {"tokens": 30, "promptTokens": 15}, "firstToken": [0, 1, 0, 0], "nextToken": [1, 0, 0, 0]}
    found = recent(now, before, 10.0, bounds)["text"]
    assert found == {"tokens": 2.0, "prompt": 1.0, "first50": 1.5, "first99": pytest.approx(1.99), "next99": 0.99}
    assert recent(now, ROW, 10.0, bounds)["text"]["tokens"] == 0.0
