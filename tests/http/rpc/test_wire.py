"""The reader of protobuf's wire format agrees with the library, on what that writes and on any bytes."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from torchserve.http.rpc import torchserve_messages
from torchserve.http.rpc.protos.messages import message
from torchserve.http.rpc.wire import BYTES, BadMessage, bytes_field, split, varint

REQUEST = message("org.pytorch.serve.grpc.inference.PredictionsRequest")

TEXTS = st.text(max_size=20)
MESSAGES = st.builds(
    REQUEST,
    model_name=TEXTS,
    model_version=TEXTS,
    input=st.dictionaries(TEXTS, st.binary(max_size=300), max_size=5),
    sequence_id=st.none() | st.text(st.characters(categories=["L", "N"]), max_size=20),
)


def read(data: bytes) -> Any:
    found = torchserve_messages._read(memoryview(data), 128)
    return found.model, found.version, {part.name: bytes(part.body) for part in found.parts}, found.sequence


def known(asked: Any) -> Any:
    return asked.model_name, asked.model_version, dict(asked.input), asked.sequence_id


@given(MESSAGES)
def test_what_the_library_writes_is_read(asked: Any) -> None:
    assert read(asked.SerializeToString()) == known(asked)


@given(MESSAGES, MESSAGES)
def test_of_a_field_that_comes_twice_the_last_counts(one: Any, other: Any) -> None:
    data = one.SerializeToString() + other.SerializeToString()
    assert read(data) == known(REQUEST.FromString(data))


# Fields that a message may have beside its own: any number and type, well-formed or not.
PIECES = st.one_of(
    st.binary(max_size=12),
    st.builds(bytes_field, st.integers(1, 9), st.binary(max_size=20)),
    st.builds(lambda number, value: varint(number << 3) + varint(value), st.integers(1, 9), st.integers(0, 2**64 - 1)),
    st.builds(lambda number, kind: varint(number << 3 | kind) + b"12345678", st.integers(1, 9), st.sampled_from([1, 5])),
    st.builds(lambda number, inner: varint(number << 3 | 3) + inner + varint(number << 3 | 4), st.integers(1, 2**29 - 1),
        st.binary(max_size=6)),
)  # fmt: skip


@given(st.lists(PIECES, max_size=6).map(b"".join))
@example(varint(5 << 3 | 3) * 101 + varint(5 << 3 | 4) * 101)
@example(b"\x08" + b"\x80" * 9 + b"\x7f")
@example(b"\x80\x80\x80\x80\x80\x01\x00")
@example(b"\x0b\x14\x0b\x0c")
@example(b"\x00\x01")
@example(b"\x02\x00")
@example(b"\x1a\x05\r\x00\x00\x00\x00\r\x00\x00\x00\x00")
def test_any_bytes_are_read_as_the_library_reads_them(data: bytes) -> None:
    try:
        theirs = known(REQUEST.FromString(data))
    except DecodeError:
        theirs = None
    if theirs is not None and not theirs[3].isprintable():
        return  # which is refused here: it becomes a header
    if theirs is None:
        with pytest.raises(BadMessage):
            read(data)
    elif not _has_odd_entries(data):
        assert read(data) == theirs


def _has_odd_entries(data: bytes) -> bool:
    """Whether an input has a field that inputs don't have: then upb, unlike protobuf's other libraries, drops it."""
    entries = [
        each.value for each in split(memoryview(data)) if each.number == 3 and isinstance(each.value, memoryview)
    ]
    try:
        fields = [field for entry in entries for field in split(entry)]
    except BadMessage:
        return False
    return any(field.number > 2 or field.kind != BYTES for field in fields)


def test_a_large_value_stays_a_view_of_the_message() -> None:
    data = memoryview(REQUEST(model_name="m", input={"x": b"1" * 100_000}).SerializeToString())
    part = torchserve_messages._read(data, 128).parts[0]
    assert isinstance(part.body, memoryview)
    assert part.body.obj is data.obj
    assert len(part.body) == 100_000


def test_a_message_of_too_many_fields_is_refused_by_number() -> None:
    with pytest.raises(BadMessage, match="more than 3 fields"):
        split(memoryview(b"\x08\x01" * 4), 3)
    assert len(split(memoryview(b"\x08\x01" * 3), 3)) == 3


def test_a_request_of_too_many_inputs_is_refused() -> None:
    many = REQUEST(model_name="m", input={str(n): b"" for n in range(129)})
    with pytest.raises(Exception, match="129 inputs and at most 128"):
        read(many.SerializeToString())
    assert len(read(REQUEST(input={str(n): b"" for n in range(128)}).SerializeToString())[2]) == 128
