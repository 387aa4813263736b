"""Requests and answers of the Open Inference Protocol: one document, sent in three ways, means the same."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.cli.infer_messages import (
    TensorForm,
    infer_binary,
    infer_json,
    infer_message,
    predictions_message,
    read_binary,
    read_form,
    read_message,
    read_request,
    values_of,
)
from torchserve.cli.loadgen.response import BadResponse
from torchserve.cli.loadgen.rpc_answer import prediction
from torchserve.core.errors import BadRequest
from torchserve.core.oip.datatypes import SIZES, pack
from torchserve.core.oip.rest import read_document
from torchserve.http.rpc.protos.messages import message

DOCUMENT = {
    "id": "7",
    "parameters": {"a": 1, "b": True, "c": "x"},
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [[1, 2, 3.5]], "parameters": {"of": "x"}},
        {"name": "t", "datatype": "BYTES", "shape": [2], "data": ["a", "bä"]},
    ],
    "outputs": [{"name": "y"}],
}
X, T = pack("x", "FP32", (3,), [1, 2, 3.5]), b"\x01\0\0\0a\x03\0\0\0b\xc3\xa4"
NUMBERS: dict[str, Any] = {
    "BOOL": st.booleans(), "FP16": st.floats(width=16, allow_nan=False), "FP32": st.floats(width=32, allow_nan=False),
    "FP64": st.floats(allow_nan=False), "BYTES": st.text(st.characters(codec="utf-8")),
    "BF16": st.sampled_from([0.0, 1.0, -2.5, 0.15625]),
    **{f"{sign}INT{bits}": st.integers(0 if sign else -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
       for sign in ("", "U") for bits in (8, 16, 32, 64)},
}  # fmt: skip


def test_a_document_as_a_message() -> None:
    made = message("inference.ModelInferRequest").FromString(
        infer_message("m", "2", read_request(json.dumps(DOCUMENT).encode()))
    )
    assert (made.model_name, made.model_version, made.id) == ("m", "2", "7")
    assert [(each.name, each.datatype, list(each.shape)) for each in made.inputs] == [
        ("x", "FP32", [1, 3]), ("t", "BYTES", [2]),
    ]  # fmt: skip
    assert list(made.raw_input_contents) == [X, T]
    assert made.inputs[0].parameters["of"].string_param == "x"
    assert (made.parameters["a"].int64_param, made.parameters["b"].bool_param) == (1, True)
    assert [each.name for each in made.outputs] == ["y"]


def test_a_document_in_binary_form_and_back_in_json() -> None:
    request = read_request(json.dumps(DOCUMENT).encode())
    body, ((name, length),) = infer_binary(request)
    assert name == "Inference-Header-Content-Length"
    read = read_document(body[: int(length)], body[int(length) :])
    assert [bytes(each.data) for each in read.inputs] == [X, T]
    assert (read.binary, read.id, read.parameters, read.inputs[0].parameters) == (
        True, "7", {"a": 1, "b": True, "c": "x"}, {"of": "x"},
    )  # fmt: skip
    again = json.loads(infer_json(request))
    assert again["inputs"][0]["data"] == [1, 2, 3.5]
    assert again["inputs"][1]["data"] == ["a", "bä"]


@pytest.mark.parametrize("datatype", sorted(SIZES))
@given(data=st.data())
def test_values_are_what_was_packed(datatype: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(NUMBERS[datatype], max_size=9))
    assert values_of(datatype, (len(values),), pack("x", datatype, (len(values),), values)) == values


@pytest.mark.parametrize("raw", [True, False])
def test_an_answer_as_a_document(raw: bool) -> None:
    made = message("inference.ModelInferResponse")(model_name="m")
    made.outputs.add(name="y", datatype="FP32", shape=[3])
    if raw:
        made.raw_output_contents.append(X)
    else:
        made.outputs[0].contents.fp32_contents.extend([1, 2, 3.5])
    told = {"model_name": "m", "outputs": [{"name": "y", "datatype": "FP32", "shape": [3], "data": [1, 2, 3.5]}]}
    assert read_message(made.SerializeToString()) == told
    head = {"model_name": "m", "outputs": [{**told["outputs"][0], "parameters": {"binary_data_size": 12}}]}  # type: ignore[index]
    del head["outputs"][0]["data"]  # type: ignore[union-attr]
    assert read_binary(json.dumps(head).encode() + X)["outputs"][0]["data"] == [1, 2, 3.5]


@pytest.mark.parametrize("read", [read_message, read_binary])
@given(answer=st.binary(max_size=60))
def test_whatever_is_no_answer_is_a_value_error(read: Any, answer: bytes) -> None:
    try:
        read(answer)
    except ValueError:
        return
    assert read is read_message, "an empty message is one"


@pytest.mark.parametrize("cut", [X[:4], b""])
def test_a_tensor_that_lacks_bytes_is_a_value_error(cut: bytes) -> None:
    made = message("inference.ModelInferResponse")(raw_output_contents=[cut])
    made.outputs.add(name="y", datatype="FP32", shape=[3])
    with pytest.raises(ValueError, match="takes 12 bytes"):
        read_message(made.SerializeToString())


def test_a_form_makes_a_request_of_the_bytes_of_a_file() -> None:
    form = read_form("image:FP32:1x3")
    assert form == TensorForm("image", "FP32", (1, 3))
    (tensor,) = form.request(X).inputs
    assert (tensor.name, tensor.shape, tensor.data) == ("image", (1, 3), X)
    with pytest.raises(BadRequest, match="takes 12 bytes, and 5 were sent"):
        form.request(b"hello")
    assert read_form("t:BYTES:1").request(b"hello").inputs[0].data == b"\x05\0\0\0hello"


@pytest.mark.parametrize(
    ("text", "why"),
    [("x", "is not NAME:DATATYPE:SHAPE"), ("x:FP31:1", "FP31"), ("x:FP32:1x-2", "negative"), ("x:FP32:", "is not NAME"),
     ("x:BYTES:2", "one element of BYTES")],
)  # fmt: skip
def test_what_is_no_form(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_form(text)


@given(st.binary(max_size=300), st.text(max_size=3), st.booleans())
def test_the_prediction_in_a_response(body: bytes, sequence: str, failed: bool) -> None:
    made = message("org.pytorch.serve.grpc.inference.PredictionResponse")(prediction=body)
    if sequence:
        made.sequence_id = sequence
    if failed:
        made.status.code = 300
    assert prediction(made.SerializeToString()) == body


@given(st.binary(max_size=50))
def test_whatever_is_no_response_is_a_bad_response(data: bytes) -> None:
    with contextlib.suppress(BadResponse):
        assert prediction(data) in data


def test_a_request_of_torchserve() -> None:
    made = message("org.pytorch.serve.grpc.inference.PredictionsRequest").FromString(
        predictions_message("m", None, b"x")
    )
    assert (made.model_name, made.model_version, dict(made.input)) == ("m", "", {"data": b"x"})
