"""dumps writes what json.dumps(indent=2) writes, and fails as it fails."""

from __future__ import annotations

import collections
import enum
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchserve.core.backend.json_text import dumps


class Level(enum.IntEnum):
    HIGH = 3


SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just(Level.HIGH), st.just(np.float64(0.1))
)
KEY = st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none())
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEY, inner), st.dictionaries(st.text(), inner)
    ),
    max_leaves=20,
)


@given(VALUE)
@settings(max_examples=400, deadline=None)
def test_same_text_as_the_standard_library(value) -> None:
    assert dumps(value) == json.dumps(value, indent=2)


@pytest.mark.parametrize(
    "value",
    [
        [[1.5, 2], [float("nan")], [float("inf"), -float("inf")]],
        {"a": {}, "b": [], "c": ()},
        collections.OrderedDict(z=1, a=[{"é": "\ud800"}]),
        [[True, 1, 1.0]],
        1e16,
    ],
)
def test_corners(value) -> None:
    assert dumps(value) == json.dumps(value, indent=2)


def circle() -> list:
    value: list = []
    value.append([value, [1]])
    return value


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({1, 2}, TypeError),
        ([object()], TypeError),
        ({"a": [b"x"]}, TypeError),
        ({(1, 2): 3}, TypeError),
        ([np.float32(1)], TypeError),
        (circle(), ValueError),
    ],
)
def test_same_errors(value, error: type[Exception]) -> None:
    with pytest.raises(error):
        json.dumps(value, indent=2)
    with pytest.raises(error):
        dumps(value)
