"""ModelInfer's messages: tensors stay views, both forms mean the same, and whatever bytes come are read or refused."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import HandlerFailed, ServeError
from torchserve.core.oip.infer_answer import InferAnswer, reply_of
from torchserve.core.oip.infer_request import Tensor
from torchserve.core.payload import Reply
from torchserve.http.rpc.codec import Asked
from torchserve.http.rpc.oip_messages import OipMessages, OipStreamMessages
from torchserve.http.rpc.protos.messages import message
from torchserve.http.rpc.status import Code, Status

from .doubles import Desk

Request, Response = message("inference.ModelInferRequest"), message("inference.ModelInferResponse")
StreamResponse = message("inference.ModelStreamInferResponse")
INFER = "/inference.GRPCInferenceService/ModelInfer"
CODEC, STREAM = OipMessages(), OipStreamMessages()


async def decoded(data: bytes, **fields: str) -> Asked:
    call: Any = Desk().call(INFER, **fields).handler
    try:
        return CODEC.decode(call, data)
    finally:
        call.aborted(None)


def floats(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


@pytest.mark.parametrize("raw", [True, False])
async def test_tensors_of_floats_are_views_of_the_message(raw: bool) -> None:
    values = [0.5] * 10_000
    tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [10_000]}
    if not raw:
        tensor["contents"] = {"fp32_contents": values}
    contents = [floats(values)] if raw else []
    data = Request(model_name="m", inputs=[tensor], raw_input_contents=contents).SerializeToString()
    asked = await decoded(data)
    body = asked.payload.parts[0].body
    assert isinstance(body, memoryview)
    assert body.obj is data
    assert body == floats(values)
    assert asked.detail is raw


async def test_what_a_request_says_beside_its_tensors() -> None:
    asked = await decoded(
        Request(
            model_name="m", model_version="2", id="mine",
            inputs=[{"name": "x", "datatype": "INT8", "shape": [0], "parameters": {"p": {"bool_param": True}}}],
            outputs=[{"name": "y"}],
            parameters={"sequence_id": {"int64_param": 7}, "sequence_end": {"bool_param": True},
                        "timeout": {"int64_param": 250_000}, "empty": {}},
        ).SerializeToString(),
        x_mine="yes", grpc_timeout="3S",
    )  # fmt: skip
    assert (asked.model, asked.version, asked.id) == ("m", "2", "mine")
    infer = asked.payload.infer
    assert infer is not None
    assert (infer.id, infer.binary, infer.inputs[0].parameters) == ("mine", True, {"p": True})
    assert [(each.name, each.binary) for each in infer.outputs] == [("y", True)]
    assert asked.payload.timeout == 0.25
    assert infer.parameters == {"sequence_id": 7, "sequence_end": True, "timeout": 250_000}
    assert asked.payload.headers == {"x-mine": "yes"}


VALID = Request(
    model_name="m",
    id="i",
    inputs=[
        {"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"p": {"string_param": "v"}}},
        {"name": "y", "datatype": "BYTES", "shape": [1]},
    ],
    raw_input_contents=[b"12345678", b"\1\0\0\0a"],
).SerializeToString()


@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=4), st.integers(0, 5))
def test_whatever_bytes_come_they_are_read_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(VALID)
    for at, byte in changes:
        data[at] = byte
    call: Any = _call()
    try:
        asked = CODEC.decode(call, bytes(data[: len(data) - cut]))
        for _ in CODEC.check(asked) or ():
            pass
    except ServeError:
        return
    assert asked.payload.infer is not None
    assert len(asked.payload.parts) == len(asked.payload.infer.inputs)


def _call() -> Any:
    class Head:
        metadata: dict[str, str] = {}
        timeout = None
        priority = 0

    class Call:
        id = "r"
        head = Head()

    return Call()


ANSWER = InferAnswer("m", "1", "i", (
    Tensor("f", "FP32", (2,), floats([1.5, -2.0])), Tensor("n", "INT16", (2,), struct.pack("<2h", -1, 300)),
    Tensor("b", "BYTES", (2,), b"\1\0\0\0a\0\0\0\0"), Tensor("t", "BOOL", (2,), b"\1\0"),
    Tensor("j", "INT64", (2,), b"[1, 2]", json=True, parameters={"p": 1.5}),
), {"k": "v", "n": -1, "big": 2**63})  # fmt: skip
HALF = Tensor("h", "FP16", (1,), b"\0\x3c")


@pytest.mark.parametrize("raw", [True, False])
def test_an_answer_has_the_form_of_its_request(raw: bool) -> None:
    made = Response.FromString(b"".join(CODEC.encode(reply_of(ANSWER), _asked(raw=raw))))
    assert (made.model_name, made.model_version, made.id) == ("m", "1", "i")
    assert made.parameters["big"].uint64_param == 2**63
    assert (made.parameters["k"].string_param, made.parameters["n"].int64_param) == ("v", -1)
    assert made.outputs[4].parameters["p"].double_param == 1.5
    assert [(each.name, each.datatype, list(each.shape)) for each in made.outputs] == [
        (each.name, each.datatype, list(each.shape)) for each in ANSWER.outputs
    ]
    if raw:
        assert list(made.raw_output_contents) == [
            *(bytes(each.data) for each in ANSWER.outputs[:4]), struct.pack("<2q", 1, 2),
        ]  # fmt: skip
        assert not any(each.HasField("contents") for each in made.outputs)
        return
    f, n, b, t, j = (each.contents for each in made.outputs)
    assert (list(f.fp32_contents), list(n.int_contents), list(b.bytes_contents)) == (
        [1.5, -2.0],
        [-1, 300],
        [b"a", b""],
    )
    assert (list(t.bool_contents), list(j.int64_contents)) == ([True, False], [1, 2])
    assert not made.raw_output_contents


def test_what_has_no_typed_form_makes_an_answer_raw() -> None:
    answer = InferAnswer("m", "1", "", (ANSWER.outputs[0], HALF))
    made = Response.FromString(b"".join(CODEC.encode(reply_of(answer), _asked(raw=False))))
    assert list(made.raw_output_contents) == [bytes(ANSWER.outputs[0].data), b"\0\x3c"]


def test_a_stream_s_messages_hold_an_answer_or_an_error() -> None:
    made = StreamResponse.FromString(b"".join(STREAM.encode(reply_of(ANSWER), _asked(raw=True))))
    assert made.infer_response.outputs[0].name == "f"
    failed = StreamResponse.FromString(b"".join(STREAM.error(Status(Code.NOT_FOUND, "gone"), _asked(raw=True))))
    assert (failed.error_message, failed.infer_response.id) == ("gone", "i")
    assert (
        StreamResponse.FromString(b"".join(STREAM.error(Status(Code.NOT_FOUND, "gone"), None))).error_message == "gone"
    )


@pytest.mark.parametrize(
    "body", [b"no JSON", b'{"outputs": [{"name": "x", "datatype": "INT8", "shape": [1], "data": [999]}]}']
)
def test_a_reply_without_tensors_is_the_handler_s_failure(body: bytes) -> None:
    with pytest.raises(HandlerFailed):
        CODEC.encode(Reply(body), _asked(raw=True))


def _asked(*, raw: bool) -> Asked:
    payload: Any = None
    return Asked("m", None, payload, "i", raw)
