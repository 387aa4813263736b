"""Requests of the Open Inference Protocol in a worker: what handlers get for tensors, and what becomes of what they return."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from torchserve.core.oip.datatypes import pack, pack_bytes
from torchserve.core.oip.infer_answer import InferAnswer, read_answer
from torchserve.core.oip.infer_request import InferRequest, Tensor, payload_of
from torchserve.core.oip.signature import Signature, TensorSpec
from torchserve.core.payload import Infer, Part, Payload, Reply, WantedOutput
from torchserve.core.wire.messages import DEFAULT_RESULT, Answer, PartHead, Partial, Predict, Row

from .test_service import Front

# The request's parameter `code` is evaluated for each request; `row` is what the handler got for it.
HANDLER = """
    import json
    import numpy as np
    from ts.handler_utils.utils import send_intermediate_predict_response as send
    from ts.utils.util import PredictionException

    def handle(data, context):
        if data is None:
            return None
        out = []
        for index, row in enumerate(data):
            code = context.get_request_header(index, "code") or "row"
            out.append(eval(code, globals(), {"row": row, "data": data, "context": context, "index": index}))
        return out

    def throw(error):
        raise error

    def streamed(data, context, value):
        send([value] * len(data), context.request_ids, "", 200, context)
        return value
"""


def raw(name: str, array: Any, datatype: str) -> Tensor:
    found = np.asarray(array)
    return Tensor(name, datatype, found.shape, found.tobytes())


class Infers:
    """A service that is asked in payloads, as the front end makes them."""

    def __init__(self, folder: Any, **load: Any) -> None:
        self.front = Front(folder, **load)
        assert self.front.loaded.code == 200, self.front.loaded.message

    def send(self, *payloads: Payload) -> tuple[Answer, list[bytes]]:
        self.front.frames.clear()
        rows = tuple(
            Row(
                each.request_id,
                tuple(PartHead(part.name, part.content_type) for part in each.parts),
                each.headers,
                each.infer,
            )
            for each in payloads
        )
        self.front.service.respond(Predict(7, rows), [part.body for each in payloads for part in each.parts])
        answer = self.front.frames[-1].message
        assert isinstance(answer, Answer)
        return answer, [bytes(body) for body in self.front.frames[-1].bodies]

    def infer(self, *inputs: Tensor, code: str = "row", **request: Any) -> InferAnswer:
        answer, (body,) = self.send(asked(*inputs, code=code, **request))
        assert (answer.code, answer.message) == (200, "")
        (result,) = answer.results
        assert not result.error, result.error
        return read_answer(Reply(body, headers=result.headers))

    def error(self, *inputs: Tensor, code: str = "row", **request: Any) -> tuple[int, str]:
        answer, _ = self.send(asked(*inputs, code=code, **request))
        if answer.code != 200:
            return answer.code, answer.message
        return answer.results[0].status, answer.results[0].error


def asked(*inputs: Tensor, code: str = "row", **request: Any) -> Payload:
    return payload_of(InferRequest(inputs, **request), "r", {"code": code})


def told(answer: InferAnswer) -> list[tuple[Any, ...]]:
    """The outputs, the values as Python's."""
    return [(each.name, each.datatype, each.shape, json.loads(bytes(each.data))) for each in answer.outputs]


@pytest.fixture
def folder(write_model: Any, clean_process: None) -> Any:
    return write_model({"svc.py": HANDLER})


@pytest.fixture
def infers(folder: Any) -> Infers:
    return Infers(folder)


X = raw("x", np.array([[1.5, 2.5]], "<f4"), "FP32")


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("BOOL", [True, False]), ("UINT8", [0, 255]), ("UINT16", [0, 65535]), ("UINT32", [0, 2**32 - 1]),
        ("UINT64", [0, 2**64 - 1]), ("INT8", [-128, 127]), ("INT16", [-(2**15), 1]), ("INT32", [-(2**31), 1]),
        ("INT64", [-(2**63), 2**63 - 1]), ("FP16", [1.5, -2.0]), ("BF16", [1.5, -2.0]), ("FP32", [0.1, 2.0]),
        ("FP64", [0.1, 1e300]), ("BYTES", ["é", ""]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("text", [False, True])
def test_every_datatype_is_an_array_and_comes_back(
    infers: Infers, datatype: str, values: list[Any], text: bool
) -> None:
    data = json.dumps(values).encode() if text else pack("x", datatype, (2, 1), values)
    wanted = {"BF16": "FP32"}.get(datatype, datatype)
    (output,) = infers.infer(Tensor("x", datatype, (2, 1), data, text), binary=True).outputs
    assert (output.name, output.datatype, output.shape) == ("x", wanted, (2, 1))
    assert bytes(output.data) == pack("x", wanted, (2, 1), values)
    ((_, _, _, shown),) = told(infers.infer(Tensor("x", datatype, (2, 1), data, text)))
    assert shown == pytest.approx(values) if datatype.startswith(("FP", "BF")) else shown == values


def test_an_array_is_a_view_of_the_received_bytes_and_read_only(infers: Infers) -> None:
    body = np.arange(4, dtype="<f4")
    shared = Tensor("x", "FP32", (2, 2), memoryview(body).cast("B"))
    code = "[row['x'].__array_interface__['data'][0], int(row['x'].flags.writeable), int(row['x'].flags.owndata)]"
    ((_, _, _, (address, writeable, own)),) = told(infers.infer(shared, code=code))
    assert (address, writeable, own) == (body.__array_interface__["data"][0], 0, 0)


def test_bytes_at_an_odd_address_are_copied(infers: Infers) -> None:
    body = b"?" + struct.pack("<2f", 1.0, 2.0)
    code = "[int(row['x'].flags.aligned), int(row['x'].flags.writeable), row['x'].tolist() == [1, 2]]"
    assert told(infers.infer(Tensor("x", "FP32", (2,), memoryview(body)[1:]), code=code))[0][3] == [1, 0, 1]


@pytest.mark.parametrize(
    ("code", "outputs"),
    [
        ("row", [("x", "FP32", (1, 2), [1.5, 2.5])]),
        ("{'y': row['x'] * 2, 'z': [1, 2]}", [("y", "FP32", (1, 2), [3, 5]), ("z", "INT64", (2,), [1, 2])]),
        ("row['x']", [("output_0", "FP32", (1, 2), [1.5, 2.5])]),
        ("[row['x'], np.array(7, 'u1')]", [("output_0", "FP32", (1, 2), [1.5, 2.5]), ("output_1", "UINT8", (), [7])]),
        ("[[1.5], [2.5]]", [("output_0", "FP64", (2, 1), [1.5, 2.5])]),
        ("3", [("output_0", "INT64", (1,), [3])]),
        ("True", [("output_0", "BOOL", (1,), [True])]),
        ("'text'", [("output_0", "BYTES", (1,), ["text"])]),
        ("['a', b'b']", [("output_0", "BYTES", (2,), ["a", "b"])]),
        ("np.array(['a', 'bc'])", [("output_0", "BYTES", (2,), ["a", "bc"])]),
        ("[[1], [2, 3]]", [("output_0", "BYTES", (1,), ["[\n  [\n    1\n  ],\n  [\n    2,\n    3\n  ]\n]"])]),
        ("{'top': {'cat': 0.5}}", [("top", "BYTES", (1,), ['{\n  "cat": 0.5\n}'])]),
        ("{'cat': 0.5}", [("cat", "FP64", (1,), [0.5])]),
        ("[]", [("output_0", "FP32", (0,), [])]),
        ("None", [("output_0", "BYTES", (1,), ["null"])]),
        ("np.array([np.nan, np.inf], 'f4')", [("output_0", "FP32", (2,), [None, None])]),
        ("row['x'].T[::-1]", [("output_0", "FP32", (2, 1), [2.5, 1.5])]),
        ("row['x'].astype('>f4')", [("output_0", "FP32", (1, 2), [1.5, 2.5])]),
        ("__import__('torch').ones(2, 1)", [("output_0", "FP32", (2, 1), [1, 1])]),
        ("__import__('torch').tensor([1.5]).bfloat16()", [("output_0", "BF16", (1,), [1.5])]),
        ("__import__('torch').ones(1, requires_grad=True).half()", [("output_0", "FP16", (1,), [1])]),
        ("row['body']['inputs'][0]['data']", [("output_0", "FP64", (2,), [1.5, 2.5])]),
        ("row.get('body')['inputs'][0]['shape']", [("output_0", "INT64", (2,), [1, 2])]),
        ("[row.get('other') is None, 'body' in row, list(row) == ['x']]", [("output_0", "BOOL", (3,), [1, 0, 1])]),
        ("{'outputs': [{'name': 'o', 'datatype': 'INT8', 'shape': [1], 'data': [3]}]}", [("o", "INT8", (1,), [3])]),
        ("{'outputs': [{'name': 'o', 'datatype': 'BYTES', 'shape': [1], 'data': [{}]}]}", [("o", "BYTES", (1,), ["{}"])]),
    ],
)  # fmt: skip
def test_what_a_handler_returns_becomes_tensors(infers: Infers, code: str, outputs: list[Any]) -> None:
    assert told(infers.infer(X, code=code)) == outputs


def test_an_answer_names_the_model_and_the_client_s_id(infers: Infers) -> None:
    found = infers.infer(X, id="mine")
    assert (found.model, found.version, found.id) == ("m", "1.0", "mine")


def test_each_output_comes_in_the_form_that_is_asked_for(infers: Infers) -> None:
    wanted = (WantedOutput("b", binary=True), WantedOutput("a"))
    found = infers.infer(X, code="{'a': row['x'], 'b': row['x'], 'c': 1}", outputs=wanted)
    assert [(each.name, each.json, bytes(each.data)) for each in found.outputs] == [
        ("b", False, bytes(X.data)), ("a", True, b"[1.5,2.5]"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "request_", "status", "text"),
    [
        ("{'a': 1}", {"outputs": (WantedOutput("z"),)}, 400, "Model m returned the outputs 'a', and no 'z'"),
        ("np.array([1j])", {}, 503, "Unsupported model output data type: output 'output_0' is an array of complex128"),
        ("object()", {}, 503, "Unsupported model output data type"),
        (r"b'\xff'", {}, 400, "has bytes that are no text: ask for it in binary form"),
        ("throw(ValueError('x'))", {}, 503, "Prediction failed"),
        ("throw(PredictionException('short', 418))", {}, 418, "short"),
    ],
)
def test_what_can_not_be_answered_is_told(
    infers: Infers, code: str, request_: dict[str, Any], status: int, text: str
) -> None:
    found = infers.error(X, code=code, **request_)
    assert found[0] == status
    assert text in found[1]


def test_declared_outputs_name_and_type_what_has_neither(folder: Any) -> None:
    signature = Signature(outputs=(TensorSpec("y", "FP32"),))
    infers = Infers(folder, signature=signature)
    assert told(infers.infer(X, code="[1, 2]")) == [("y", "FP32", (2,), [1, 2])]
    assert infers.error(X, code="np.array([1])") == (
        503, "Unsupported model output data type: output 'y' is declared as FP32, and the handler returned INT64",
    )  # fmt: skip
    two = Infers(folder, signature=Signature(outputs=(TensorSpec("a"), TensorSpec("b", "BF16"))))
    found = two.infer(X, code="[row['x'], row['x'] * 1.001]", binary=True)
    assert [(each.name, each.datatype) for each in found.outputs] == [("a", "FP32"), ("b", "BF16")]
    assert bytes(found.outputs[1].data) == pack("b", "BF16", (2,), [1.5 * 1.001, 2.5 * 1.001])


LIES = Tensor("x", "BYTES", (2,), pack_bytes([b"a"]) + struct.pack("<I", 9))


def test_a_request_that_can_not_be_read_fails_alone(infers: Infers) -> None:
    code = "[len(data), index, context.get_request_id(index)]"
    first = asked(X, code="context.metrics.add_counter('C', 1, index) or int(context.get_request_id(index))")
    plain = Payload("4", (Part("body", "text/plain", b"t"),), {"code": "row['body'] + str(len(data))"})
    rows = [
        Payload(str(at), each.parts, each.headers, infer=each.infer)
        for at, each in enumerate([asked(LIES, code=code), first, asked(LIES), first])
    ]
    answer, bodies = infers.send(*rows, plain)
    assert [result.status for result in answer.results] == [400, 200, 400, 200, 200]
    assert "element 1 of BYTES says that it has 9 bytes, and 0 are left" in answer.results[0].error
    assert [json.loads(body)["outputs"][0]["data"] for body in (bodies[1], bodies[3])] == [[1], [3]]
    assert bodies[4] == b"t3"
    assert [sample.index for sample in answer.samples if sample.name == "C"] == [1, 3]


def test_a_handler_that_fails_does_not_hide_why_a_request_was_refused(infers: Infers) -> None:
    answer, _ = infers.send(asked(LIES), asked(X, code="throw(ValueError())"))
    assert [(result.status, result.error[:17]) for result in answer.results] == [
        (400, "Input 'x': elemen"), (503, "Prediction failed"),
    ]  # fmt: skip
    assert answer.code == 200


def test_a_batch_of_refused_requests_does_not_reach_the_handler(infers: Infers) -> None:
    answer, _ = infers.send(asked(LIES, code="throw(ValueError())"), asked(LIES))
    assert [result.status for result in answer.results] == [400, 400]


def test_pieces_of_a_streamed_answer_go_past_a_refused_request(infers: Infers) -> None:
    infers.send(asked(LIES), asked(X, code="streamed(data, context, row)"))
    *partials, last = infers.front.frames
    assert [isinstance(each.message, Partial) for each in partials] == [True]
    refused, good = partials[0].message.results
    assert (refused.status, bool(refused.error), good.status) == (400, True, 200)
    assert json.loads(partials[0].bodies[1])["outputs"][0]["data"] == [1.5, 2.5]
    assert [result.status for result in last.message.results] == [400, 200]


def whole(document: Any) -> Payload:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Payload("r", (Part("body", "application/json", body),), {"code": "row"}, infer=Infer(whole=True))


def test_a_document_that_was_left_to_the_worker_is_read_there(infers: Infers) -> None:
    said = {"id": "7", "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [[1, 2]]}]}
    answer, (body,) = infers.send(whole(said))
    assert json.loads(body) == {
        "id": "7", "model_name": "m", "model_version": "1.0",
        "outputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}],
    }  # fmt: skip
    assert answer.results[0].content_type == "application/json"


def test_a_document_that_is_no_request_is_the_handler_s(infers: Infers) -> None:
    answer, bodies = infers.send(whole({"instances": [1]}), whole(b"no json"))
    assert answer.results in {(), (DEFAULT_RESULT, DEFAULT_RESULT)}
    assert [json.loads(bodies[0]), b"no json" in bodies[1]] == [{"body": {"instances": [1]}}, True]


def test_a_document_is_held_to_the_signature_in_the_worker(folder: Any) -> None:
    infers = Infers(folder, signature=Signature((TensorSpec("x", "FP32", (-1, 3)),)))
    said = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [[1, 2]]}]}
    answer, _ = infers.send(whole(said))
    assert answer.results[0].error == (
        "Input 'x' of model m has the shape [-1, 3], -1 being any size, and the request's has [1, 2]."
    )


ENVELOPED = """
    def handle(data, context):
        return None if data is None else data
"""


@pytest.mark.parametrize(
    ("datatype", "values"), [("INT64", [1, 2]), ("FP32", [1.5, 2.5]), ("BYTES", ["text"]), ("BOOL", [True, False])]
)
def test_an_enveloped_handler_gets_the_same_for_binary_tensors(
    write_model: Any, clean_process: None, datatype: str, values: list[Any]
) -> None:
    source = """
        def handle(data, context):
            if data is None:
                return None
            print(repr(data))
            return [repr(each) for each in data]
    """
    infers = Infers(write_model({"svc.py": source}), envelope="kservev2")
    said = {"inputs": [{"name": "x", "shape": [len(values)], "datatype": datatype, "data": values}]}
    plain = Payload("r", (Part("body", "application/json", json.dumps(said).encode()),), {})
    _, (as_json,) = infers.send(plain)
    found = infers.infer(Tensor("x", datatype, (len(values),), pack("x", datatype, (len(values),), values)))
    assert [each["data"] for each in json.loads(as_json)["outputs"]] == [value for *_, value in told(found)]
    assert [(each.name, each.datatype) for each in found.outputs] == [("x", "BYTES")]


def test_an_enveloped_handler_s_answer_is_made_binary(write_model: Any, clean_process: None) -> None:
    infers = Infers(
        write_model({"svc.py": ENVELOPED.replace("data\n", "[each['data'] for each in data]\n", 1)}),
        envelope="kservev2",
    )
    found = infers.infer(raw("x", np.array([3, 4], "<i8"), "INT64"), binary=True, id="i")
    assert [(each.name, each.datatype, each.shape, bytes(each.data)) for each in found.outputs] == [
        ("x", "INT64", (2,), np.array([3, 4], "<i8").tobytes())
    ]
    assert (found.model, found.id) == ("m", "i")


SCRIPT = """
    import torch
    from ts.torch_handler.base_handler import BaseHandler as Base

    class Handler(Base):
        def initialize(self, context):
            self.context, self.device = context, torch.device("cpu")
            self.model = torch.jit.script(MODEL())
            self.initialized = True

    class Doubles(torch.nn.Module):
        def forward(self, x):
            return x * 2

    class Adds(torch.nn.Module):
        def forward(self, a, b):
            return a + b
"""


def based(write_model: Any, model: str) -> Infers:
    return Infers(write_model({"svc.py": SCRIPT.replace("MODEL", model)}))


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
def test_base_handler_runs_tensors_without_any_code(write_model: Any, clean_process: None) -> None:
    infers = based(write_model, "Doubles")
    assert infers.front.loaded.signature == Signature((TensorSpec("x"),))
    shapes: Sequence[tuple[int, ...]] = [(1, 2), (3, 2), (2, 5)]
    inputs = [np.arange(np.prod(shape), dtype="<f4").reshape(shape) for shape in shapes]
    answer, bodies = infers.send(*(asked(raw("x", array, "FP32"), binary=True) for array in inputs))
    found = [read_answer(Reply(b, headers=r.headers)).outputs[0] for r, b in zip(answer.results, bodies, strict=True)]
    assert [each.shape for each in found] == list(shapes)
    assert [bytes(each.data) for each in found] == [(array * 2).tobytes() for array in inputs]


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
def test_base_handler_gives_several_inputs_by_name(write_model: Any, clean_process: None) -> None:
    infers = based(write_model, "Adds")
    a, b = np.ones((2, 2), "<f4"), np.full((2, 2), 3, "<f4")
    found = infers.infer(raw("b", b, "FP32"), raw("a", a, "FP32"))
    assert told(found) == [("output_0", "FP32", (2, 2), [4, 4, 4, 4])]
    assert infers.error(Tensor("a", "BYTES", (1,), pack_bytes([b"x"])))[0] == 400
