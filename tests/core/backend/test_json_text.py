"""dumps writes what json.dumps(indent=2) writes where that is JSON, and makes JSON of what else handlers return."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import json
import pathlib
import uuid

import numpy as np
import pytest
import torch
from hypothesis import given
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
def test_same_text_as_the_standard_library(value) -> None:
    assert dumps(value, literal_non_finite=True) == json.dumps(value, indent=2)


@given(VALUE)
def test_it_is_always_json(value) -> None:
    def refuse(word: str) -> None:
        raise ValueError(word)

    written = json.loads(dumps(value), parse_constant=refuse)
    if "NaN" not in (literal := json.dumps(value)) and "Infinity" not in literal:
        assert written == json.loads(literal)


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
    assert dumps(value, literal_non_finite=True) == json.dumps(value, indent=2)


def circle() -> list:
    value: list = []
    value.append([value, [1]])
    return value


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Box:
    left: float
    label: object


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (NAN, None),
        ([NAN, 1.0, -INF], [None, 1.0, None]),
        ({"a": {"b": [INF]}, "c": NAN}, {"a": {"b": [None]}, "c": None}),
        (np.float32(0.5), 0.5),
        (np.float64(NAN), None),
        (
            {"score": np.float32(0.5), "class": np.int64(3), "yes": np.bool_(True)},
            {"score": 0.5, "class": 3, "yes": True},
        ),
        (np.array([[1, 2], [3, 4]], dtype=np.uint8), [[1, 2], [3, 4]]),
        ([np.array([1.0, NAN], dtype=np.float16)], [[1.0, None]]),
        (np.array(7), 7),
        ({"a": torch.tensor([1.5, 2.5])}, {"a": [1.5, 2.5]}),
        ([torch.tensor(3), torch.tensor(0.5, dtype=torch.bfloat16)], [3, 0.5]),
        ([torch.tensor([1.0], requires_grad=True)], [[1.0]]),
        ({"a": b"text \xc3\xa9", "b": bytearray(b"x")}, {"a": "text é", "b": "x"}),
        (datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC), "2020-01-02T03:04:05+00:00"),
        ([datetime.date(2020, 1, 2), datetime.time(3, 4)], ["2020-01-02", "03:04:00"]),
        (np.array(["2020-01-02"], dtype="datetime64[D]"), ["2020-01-02"]),
        ({"id": uuid.UUID(int=1), "path": pathlib.Path("/a/b")}, {"id": str(uuid.UUID(int=1)), "path": "/a/b"}),
        ([Colour.RED, Level.HIGH], ["red", 3]),
        (Box(1.5, np.int8(2)), {"left": 1.5, "label": 2}),
        ({1}, [1]),
        ({np.int64(1): "a"}, {"1": "a"}),
        (np.array(["a", "b"]), ["a", "b"]),
    ],
    ids=repr,
)
def test_what_json_has_no_text_for(value, written) -> None:
    assert json.loads(dumps(value)) == written
    if NAN is value:
        assert dumps(value, literal_non_finite=True) == "NaN"


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([object()], TypeError),
        ({"a": [b"\xff"]}, ValueError),
        ({(1, 2): 3}, TypeError),
        ([np.complex64(1)], TypeError),
        ([1j], TypeError),
        ([Box], TypeError),
        (circle(), RecursionError),
    ],
)
def test_what_has_no_form_is_refused(value, error: type[Exception]) -> None:
    with pytest.raises(error):
        dumps(value)
