"""Series: what many values that are counted together come to is what they come to one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.metrics.series import Histogram

BOUNDS = (0.001, 0.01, 0.1, 1.0)
VALUES = st.one_of(st.sampled_from((0.0, *BOUNDS, 0.0010001, 5.0)), st.floats(0.0, 10.0))


@given(st.lists(VALUES, max_size=40), st.lists(VALUES, max_size=5))
def test_a_histogram_counts_many_values_as_one_by_one(values: list[float], before: list[float]):
    together, apart = Histogram(BOUNDS), Histogram(BOUNDS)
    for histogram in (together, apart):
        for value in before:
            histogram.update(value)
    together.update_all(values)
    for value in values:
        apart.update(value)
    assert together.counts == apart.counts
    assert abs(together.sum - apart.sum) < 1e-9
