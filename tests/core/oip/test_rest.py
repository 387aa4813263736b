"""The JSON and binary forms of a request: what is written is read again, and whatever else comes is a BadRequest."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import BadRequest
from torchserve.core.oip.datatypes import pack
from torchserve.core.oip.infer_answer import InferAnswer, read_answer, reply_of
from torchserve.core.oip.infer_request import InferRequest, Tensor, check, payload_of
from torchserve.core.oip.rest import is_infer_request, read_document, split
from torchserve.core.payload import Infer, Reply, TensorHead, WantedOutput

NAMES = st.text(min_size=1, max_size=8)
ELEMENTS = st.lists(st.integers(0, 255), max_size=6)


def document(*inputs: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def tensor(name: str = "x", data: Any = (1.5,), datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    shape = more.pop("shape", [len(data)] if data is not None else [1])
    said = {"name": name, "datatype": datatype, "shape": shape, **more}
    return said if data is None else said | {"data": list(data) if isinstance(data, tuple) else data}


@given(st.dictionaries(NAMES, ELEMENTS, min_size=1, max_size=5), st.text(max_size=9), st.data())
def test_what_was_written_is_read_again(tensors: dict[str, list[int]], id_: str, data: st.DataObject) -> None:
    binary = {name: data.draw(st.booleans()) for name in tensors}
    tail = b"".join(bytes(values) for name, values in tensors.items() if binary[name])
    head = document(
        *(
            tensor(name, None, "UINT8", shape=[len(values)], parameters={"binary_data_size": len(values), "p": 1})
            if binary[name]
            else tensor(name, values, "UINT8")
            for name, values in tensors.items()
        ),
        id=id_, outputs=[{"name": "a", "parameters": {"binary_data": True}}, {"name": "b"}],
    )  # fmt: skip
    read = read_document(*split(head + tail, str(len(head))))
    check(read)
    assert read.id == id_
    assert read.outputs == (WantedOutput("a", True), WantedOutput("b"))
    assert {each.name: each.json for each in read.inputs} == {name: not raw for name, raw in binary.items()}
    for each in read.inputs:
        raw = pack("x", "UINT8", each.shape, json.loads(bytes(each.data))) if each.json else bytes(each.data)
        assert raw == bytes(tensors[each.name])


@given(st.binary(max_size=300), st.text(max_size=5))
def test_arbitrary_bytes_are_a_request_or_a_bad_one(body: bytes, length: str) -> None:
    is_infer_request(body)
    for read in (lambda: read_document(body), lambda: read_document(*split(body, length))):
        with contextlib.suppress(BadRequest):
            check(read())


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["name", "shape", "datatype", "data", "parameters", "inputs", "outputs", "id", "binary_data_size"]), inner),
    max_leaves=20,
)  # fmt: skip


@given(
    JUNK
    | st.fixed_dictionaries({"inputs": JUNK})
    | st.fixed_dictionaries(
        {
            "inputs": st.lists(
                st.fixed_dictionaries(
                    {"name": NAMES, "datatype": st.sampled_from(["FP32", "BYTES", "X"]), "shape": JUNK, "data": JUNK}
                )
            )
        }
    )
)
def test_arbitrary_json_is_a_request_or_a_bad_one(said: Any) -> None:
    body = json.dumps(said).encode()
    is_infer_request(body)
    try:
        read = read_document(body)
        check(read)
        for each in read.inputs:
            pack(each.name, each.datatype, each.shape, json.loads(bytes(each.data)))
    except BadRequest:
        pass


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "Malformed JSON in body"),
        (b"[" * 200 + b"]" * 200, "no inference request: Expected `object`, got `array`"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}]}",
         "nested too deeply|Malformed"),
        (document(), "has no inputs"),
        (document(tensor(), tensor()), "Two of the request's inputs have the name 'x'"),
        (document(tensor(), outputs=[{"name": "y"}, {"name": "y"}]), "Two of the request's outputs have the name 'y'"),
        (document(*(tensor(f"x{n}") for n in range(257))), "257 inputs and at most 256"),
        (document(*(tensor(f"x{n}") for n in range(10_000))), "10000 inputs and at most 256"),
        (document(tensor(data=None)), "neither data nor the parameter binary_data_size"),
        (document(tensor(parameters={"binary_data_size": 4})), "both data and the parameter"),
        (document(tensor(data=None, parameters={"binary_data_size": 4})), "binary_data_size is 4, and 0 bytes are left"),
        (document(tensor(data=None, parameters={"binary_data_size": -4})), "must be a number of bytes, not '-4'"),
        (document(tensor(data=None, parameters={"binary_data_size": "4"})), "must be a number of bytes, not '4'"),
        (document(tensor(shape=[-1])), "no dimension may be negative"),
        (document(tensor(shape=[2**40, 2**40])), "more than 9223372036854775807"),
        (document(tensor(shape=[10**40])), "no inference request|Malformed"),
        (document(tensor(shape=[1.5])), "Expected `int`"),
        (document(tensor(datatype="FLOAT32")), "Input 'x' has the datatype 'FLOAT32'"),
        (document(tensor(""), ), "a name of 0 characters"),
        (document(tensor("x" * 300), ), "a name of 300 characters"),
        (document(tensor(), id="x" * 300), "The id has 300 characters"),
        (document(tensor(), parameters={str(n): n for n in range(65)}), "65 parameters and at most 64"),
        (document(tensor(parameters={"a": [1]})), "no inference request"),
        (document(tensor(), outputs=[{"name": "y", "parameters": {"classification": 3}}]), "classification"),
        (document(tensor(), parameters={"binary_data_output": 1}), "binary_data_output must be true or false, not '1'"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_what_is_wrong(body: bytes, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        check(read_document(body))


@pytest.mark.parametrize(
    ("length", "told"),
    [
        ("x", "must be the number of bytes of the JSON, not 'x'"),
        ("-1", "not '-1'"),
        ("0", "is 0, and the body has 10 bytes"),
        ("11", "is 11, and the body has 10 bytes"),
        ("9" * 30, "must be the number"),
        ("٣", "must be the number"),
    ],
)
def test_a_header_length_that_can_not_be_is_told(length: str, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        split(b"0123456789", length)


def test_bytes_that_no_input_names_are_refused() -> None:
    head = document(tensor())
    with pytest.raises(BadRequest, match="3 bytes follow the JSON, and the inputs' binary_data_size are 0 in all"):
        read_document(*split(head + b"abc", str(len(head))))


@pytest.mark.parametrize(
    ("body", "is_one"),
    [
        (document(tensor()), True),
        (b'{"inputs": []}', True),
        (b'{"inputs": {"a": 1}}', False),
        (b'{"inputs": "x"}', False),
        (b'{"instances": []}', False),
        (b"[1]", False),
        (b"x", False),
        (b"", False),
    ],
)
def test_a_document_with_a_list_of_inputs_is_a_request(body: bytes, is_one: bool) -> None:
    assert is_infer_request(body) is is_one


def test_a_payload_has_views_of_what_was_received() -> None:
    raw = bytearray(8)
    request = InferRequest((Tensor("x", "FP32", (2,), memoryview(raw)),), binary=True, id="7")
    made = payload_of(request, "id", {"a": "b"}, timeout=2.0, priority=-1)
    assert made.parts[0].body is request.inputs[0].data
    assert made.infer == Infer((TensorHead("x", "FP32", (2,)),), (), True, "7")
    assert (made.headers, made.timeout, made.priority) == ({"a": "b"}, 2.0, -1)


@given(st.dictionaries(NAMES, st.tuples(ELEMENTS, st.booleans()), max_size=5), st.text(max_size=5))
def test_an_answer_is_read_as_it_was_written(outputs: dict[str, tuple[list[int], bool]], id_: str) -> None:
    tensors = tuple(
        Tensor(name, "UINT8", (len(values),), json.dumps(values).encode() if text else bytes(values), text)
        for name, (values, text) in outputs.items()
    )
    found = read_answer(reply_of(InferAnswer("m", "1.0", id_, tensors)))
    assert (found.model, found.version, found.id) == ("m", "1.0", id_)
    assert [(each.name, each.shape, bytes(each.data), each.json) for each in found.outputs] == [
        (each.name, each.shape, bytes(each.data), each.json) for each in tensors
    ]


def test_a_reply_that_holds_no_tensors_is_said_to() -> None:
    from torchserve.core.errors import HandlerFailed

    with pytest.raises(HandlerFailed, match="holds no tensors"):
        read_answer(Reply(b"plain"))


def test_the_pieces_of_a_streamed_answer_are_not_taken_for_one() -> None:
    from torchserve.core.errors import HandlerFailed

    piece = reply_of(InferAnswer("m", "1.0", "", (Tensor("y", "UINT8", (2,), b"ab"),)))
    with pytest.raises(HandlerFailed, match="ModelStreamInfer") as failed:
        read_answer(Reply(bytes(piece.body) * 2, headers=piece.headers))
    assert failed.value.status == 501
