"""What is known from messages that came before means what reading them again would mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import BadRequest, ServeError
from torchserve.core.oip.infer_answer import InferAnswer, reply_of
from torchserve.core.oip.infer_request import Tensor
from torchserve.http.message.sequence_headers import SequenceHeaders
from torchserve.http.rpc.framing import frame
from torchserve.http.rpc.infer_heads import Known, cut, raw_at
from torchserve.http.rpc.oip_messages import OipMessages
from torchserve.http.rpc.protos.messages import message
from torchserve.http.rpc.torchserve_messages import TorchServeMessages, _any_inputs, _one_input

from .doubles import Desk
from .test_oip_messages import _call

Request, Response = message("inference.ModelInferRequest"), message("inference.ModelInferResponse")
Predictions = message("org.pytorch.serve.grpc.inference.PredictionsRequest")
INPUTS = [
    {"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"p": {"string_param": "v"}}},
    {"name": "y", "datatype": "BYTES", "shape": [1]},
]
VALID = Request(
    model_name="m", id="i", inputs=INPUTS, outputs=[{"name": "z"}], parameters={"timeout": {"int64_param": 9}},
    raw_input_contents=[b"12345678", b"\1\0\0\0a"],
)  # fmt: skip


def changed(**fields: Any) -> bytes:
    made = Request()
    made.CopyFrom(VALID)
    for name, value in fields.items():
        if name == "raw":
            del made.raw_input_contents[:]
            made.raw_input_contents.extend(value)
        else:
            setattr(made, name, value)
    return made.SerializeToString()


def decoded(codec: OipMessages, data: bytes) -> Any:
    """What a codec makes of a message, or why it is refused; views as bytes, so that they can be compared."""
    try:
        asked = codec.decode(_call(), data)
    except ServeError as error:
        return str(error)
    parts = [(each.name, bytes(each.body)) for each in asked.payload.parts]
    rest = (asked.payload.headers, asked.payload.timeout, asked.payload.priority, asked.payload.infer)
    return asked.model, asked.version, asked.id, asked.detail, parts, rest


def primed(times: int = 1) -> OipMessages:
    """A codec that knows the message's head, and after a second time where its parts lie."""
    codec = OipMessages()
    for _ in range(times):
        codec.decode(_call(), VALID.SerializeToString())
    assert (len(codec._heads), len(codec._layouts)) == (1, times - 1)
    return codec


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({}, True),
        ({"id": "another"}, True),
        ({"id": ""}, True),
        ({"raw": [b"abcdefgh", b"\5\0\0\0abcde"]}, True),
        ({"raw": [b"abcdefg", b"\1\0\0\0a"]}, True),  # too few bytes: refused as ever
        ({"raw": [b"abcdefgh", b"\1\0\0"]}, True),
        ({"raw": [b"abcdefgh"]}, True),
        ({"raw": []}, False),
        ({"id": "x" * 300}, True),
        ({"model_name": "n"}, False),
        ({"model_version": "2"}, False),
    ],
    ids=str,
)
def test_a_message_with_a_known_head_means_what_it_would_without(fields: dict[str, Any], known: bool) -> None:
    codec, data = primed(2), changed(**fields)
    parts = cut(memoryview(data))
    assert (parts is not None and codec._heads.get(parts.head) is not None) == known
    assert decoded(codec, data) == decoded(OipMessages(), data)


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=3), st.integers(0, 5))
def test_whatever_comes_behind_a_known_message_means_the_same(changes: list[tuple[int, int]], short: int) -> None:
    data = bytearray(VALID.SerializeToString())
    for at, byte in changes:
        data[at % len(data)] = byte
    cut_off = bytes(data[: len(data) - short])
    means = decoded(OipMessages(), cut_off)
    assert decoded(primed(1), cut_off) == decoded(primed(2), cut_off) == means


def test_parts_of_a_message_in_another_order_are_read_in_full() -> None:
    tail = Request(model_name="m").SerializeToString()
    assert cut(memoryview(VALID.SerializeToString() + tail)) is None
    assert cut(memoryview(VALID.SerializeToString() + b"\x1a\x01x")) is None  # a second id
    assert cut(memoryview(b"\x42\x00" + VALID.SerializeToString())) is None  # a field that nobody knows


def test_tensors_of_a_known_message_are_views_of_it() -> None:
    data = VALID.SerializeToString()
    for times in (1, 2):
        body = primed(times).decode(_call(), data).payload.parts[0].body
        assert isinstance(body, memoryview)
        assert body.obj is data


def test_answers_with_a_known_beginning_are_what_they_would_be_without() -> None:
    codec, asked = primed(), primed().decode(_call(), VALID.SerializeToString())
    for number in range(3):
        raw = b"%04d" % number * 2
        outputs = (Tensor("a", "FP32", (2,), raw), Tensor("b", "UINT8", (3,), b"abc", parameters={"p": 1}))
        made = codec.encode(reply_of(InferAnswer("m", "1", "", outputs)), asked)
        answer = Response.FromString(b"".join(made))
        assert (answer.model_name, [each.name for each in answer.outputs]) == ("m", ["a", "b"])
        assert list(answer.raw_output_contents) == [raw, b"abc"]
        assert answer.outputs[1].parameters["p"].int64_param == 1
        assert len(codec._tails) == 1
        assert (len(made) == 5) == (number > 0), "the head of a known one is one piece"


def test_no_more_is_known_than_a_bound() -> None:
    known: Known[int] = Known()
    for number in range(1000):
        known.put(b"%d" % number, number, 4)
        assert len(known) <= 128
    assert known.get(b"999") == 999
    known.put(b"x" * 5000, 1, 5000)
    assert known.get(b"x" * 5000) is None


@given(
    st.text(max_size=130), st.text(max_size=4), st.dictionaries(st.text(max_size=3), st.binary(max_size=200), max_size=2),
    st.text(max_size=2), st.integers(0, 3), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=2),
)  # fmt: skip
def test_a_prediction_with_one_input_is_read_at_once_and_means_the_same(
    model: str, version: str, inputs: dict[str, bytes], sequence: str, short: int, changes: list[tuple[int, int]]
) -> None:
    made = Predictions(model_name=model, model_version=version, input=inputs)
    if sequence:
        made.sequence_id = sequence
    data = bytearray(made.SerializeToString())
    for at, byte in changes[: len(data)]:
        data[at % len(data)] = byte
    view = memoryview(bytes(data[: max(len(data) - short, 0)]))
    found = _one_input(view)
    if found is None:
        return
    try:
        full = _any_inputs(view, 10)
    except BadRequest:
        pytest.fail("what is refused was read")
    assert found == full


def test_the_usual_prediction_is_read_at_once() -> None:
    found = _one_input(memoryview(Predictions(model_name="m", input={"data": b"x" * 1000}).SerializeToString()))
    assert found is not None
    assert (found.model, found.parts[0].name, bytes(found.parts[0].body)) == ("m", "data", b"x" * 1000)


@given(st.text(max_size=300), st.integers(1, 400))
def test_where_the_first_tensor_begins_is_known_from_a_beginning_that_has_it(model: str, cut_at: int) -> None:
    data = changed(model_name=model)
    begins = data.index(b"12345678")
    assert raw_at(memoryview(data)) == begins
    assert raw_at(memoryview(data)[:cut_at]) == (begins if cut_at >= begins else 0)
    assert raw_at(memoryview(b"\xff" + data)) == 0


@pytest.mark.parametrize("name", ["x", "xy", "xyz", "image", "images"])
async def test_a_tensor_in_several_pieces_lies_where_numpy_reads_it_in_place(name: str) -> None:
    desk = Desk()
    data = Request(
        model_name="m", inputs=[{"name": name, "datatype": "FP32", "shape": [1000]}], raw_input_contents=[bytes(4000)]
    ).SerializeToString()
    room = memoryview(bytearray(len(data) + 8))
    desk.data.rooms.append(room)
    call = desk.call("/inference.GRPCInferenceService/ModelInfer").raw(frame(len(data)) + data[:2500])
    call.raw(data[2500:]).end()
    body = desk.data.payloads[0].parts[0].body
    assert isinstance(body, memoryview)
    assert body.obj is room.obj
    address = np.frombuffer(body, np.uint8).ctypes.data - np.frombuffer(room, np.uint8).ctypes.data
    assert address % 8 == 0
    call.handler.aborted(None)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=2), st.integers(0, 1))
def test_a_prediction_as_long_as_one_before_means_what_it_says(changes: list[tuple[int, int]], short: int) -> None:
    class Call:
        id = "r"
        head = _call().head
        context = Desk().context

    data = bytearray(Predictions(model_name="m", model_version="1", input={"data": b"value"}).SerializeToString())
    known, call, found = TorchServeMessages(SequenceHeaders()), Call(), list[Any]()
    known.decode(call, bytes(data))  # type: ignore[arg-type]
    assert len(known._beginnings) == 1
    for at, byte in changes:
        data[at % len(data)] = byte
    for codec in (known, TorchServeMessages(SequenceHeaders())):
        try:
            asked = codec.decode(call, bytes(data[: len(data) - short]))  # type: ignore[arg-type]
        except ServeError as error:
            found.append(str(error))
        else:
            parts = [(each.name, bytes(each.body)) for each in asked.payload.parts]
            found.append((asked.model, asked.version, asked.id, parts, asked.payload.headers))
    assert found[0] == found[1]
