"""SequenceKeys: which sequence a request belongs to, by headers in any spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.config.settings import Settings
from torchserve.core.errors import BadRequest
from torchserve.core.models.sequence import SequenceKeys
from torchserve.core.payload import Infer, Parameters

KEYS = SequenceKeys.of(Settings())
ID, START, END = "ts_request_sequence_id", "ts_request_sequence_start", "ts_request_sequence_end"


def test_the_names_are_torchserve_s() -> None:
    assert KEYS == (ID, START, END)
    assert KEYS.environment == {
        "TS_REQUEST_SEQUENCE_ID": ID, "TS_REQUEST_SEQUENCE_START": START, "TS_REQUEST_SEQUENCE_END": END,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "sequence", "ends"),
    [
        ({ID: "a"}, "a", False),
        ({ID: "a", END: "true"}, "a", True),
        ({ID: "a", END: "TRUE"}, "a", True),
        ({ID: "a", END: "false"}, "a", False),
        ({ID: "a", END: "1"}, "a", False),
        ({ID: "a", START: "true"}, "a", False),
        ({"TS-Request-Sequence-Id": "a", "Ts_Request-Sequence_END": "true"}, "a", True),
    ],
)
def test_what_a_request_says(headers: dict[str, str], sequence: str, *, ends: bool) -> None:
    found, last, given = KEYS.read(headers)
    assert (found, last) == (sequence, ends)
    assert given.items() >= headers.items(), "nothing that came is taken away"
    assert given[ID] == sequence


@pytest.mark.parametrize("headers", [{}, {"accept": "*/*"}, {START: "false"}])
def test_a_request_that_names_none_begins_a_new_one(headers: dict[str, str]) -> None:
    first, ends, given = KEYS.read(headers)
    second, _, _ = KEYS.read(headers)
    assert first.startswith("ts-seq-")
    assert first != second
    assert not ends
    assert (given[ID], given[START]) == (first, "true")


def test_the_settings_may_give_other_names() -> None:
    keys = SequenceKeys.of(Settings(ts_header_key_sequence_id="session"))
    assert keys.read({"Session": "a", ID: "b"})[0] == "a"


@pytest.mark.parametrize(
    ("parameters", "sequence", "ends"),
    [
        ({"sequence_id": 7}, "7", False),
        ({"sequence_id": "mine", "sequence_start": True, "sequence_end": True}, "mine", True),
        ({"sequence_id": 7, "sequence_end": False}, "7", False),
        ({"sequence_id": 7, "sequence_end": "true"}, "7", False),
    ],
)
def test_triton_s_parameters_say_the_same(parameters: Parameters, sequence: str, *, ends: bool) -> None:
    found, last, given = KEYS.read({"accept": "*/*"}, Infer(parameters=parameters))
    assert (found, last) == (sequence, ends)
    assert given.get(START) == ("true" if parameters.get("sequence_start") else None)
    assert KEYS.read({ID: "a"}, Infer(parameters=parameters))[:2] == ("a", False), "headers win"


@pytest.mark.parametrize("parameters", [{"sequence_id": 0, "sequence_start": False}, {"sequence_id": ""}, {"mine": 1}])
def test_the_parameters_of_a_client_that_means_no_sequence(parameters: Parameters) -> None:
    assert KEYS.read({}, Infer(parameters=parameters))[0].startswith("ts-seq-")


def test_a_long_sequence_id_is_refused() -> None:
    assert KEYS.read({}, Infer(parameters={"sequence_id": "x" * 256}))[0] == "x" * 256
    with pytest.raises(BadRequest, match="257 characters and at most 256"):
        KEYS.read({}, Infer(parameters={"sequence_id": "x" * 257}))


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20)))
def test_whatever_comes_there_is_a_sequence_and_all_headers_stay(headers: dict[str, str]) -> None:
    sequence, _, given = KEYS.read(headers)
    assert given[ID] == sequence
    assert {name: value for name, value in given.items() if name in headers and name not in KEYS} == {
        name: value for name, value in headers.items() if name not in KEYS
    }
