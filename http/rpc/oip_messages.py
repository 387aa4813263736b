"""The Open Inference Protocol's messages, ModelInferRequest and ModelInferResponse, read and written.

Raw contents, and typed contents of FP32 and FP64, stay views of the message that came: protobuf's packed numbers of a
fixed size are the raw bytes of a tensor. The rest of a message is small, and goes through the protobuf library. An
answer has its tensors in the form in which the request had them, as KServe's does.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from msgspec import structs

from ...core.errors import BadRequest, HandlerFailed
from ...core.oip.datatypes import check_bytes, count_of, pack, size_of, unpack_bytes
from ...core.oip.infer_answer import InferAnswer, cut_answer, read_answer
from ...core.oip.infer_request import LONGEST_NAME, REGION, InferRequest, Tensor, check, infer_of
from ...core.oip.region_tensors import Places, places_of
from ...core.oip.regions import Regions
from ...core.payload import Body, Infer, Parameters, Part, Payload, Reply, WantedOutput
from ..message.ids import fresh_id
from ..predict.codecs.oip_v2 import sooner
from ..shared_memory import opened
from .answering import parse
from .codec import Asked, Steps
from .infer_heads import InferHead, InferTail, Known, cut, raw_at, sizes_of, tail_of
from .method import OpenCall
from .protos.messages import message
from .status import Status, Words
from .torchserve_messages import named_model
from .wire import BYTES, BadMessage, Field, bytes_field, head_of, split, view

_MOST_FIELDS = 2048  # of a message: 256 inputs and outputs, their contents, 64 parameters, and some more
_MOST_TYPED = 1 << 20  # elements of typed contents that have to be converted one by one
_MODEL, _VERSION, _ID, _INPUTS, _RAW = 1, 2, 3, 5, 7  # fields of ModelInferRequest
_CONTENTS = 5  # field of InferInputTensor and of InferOutputTensor
_OUTPUTS, _RAW_OUTPUTS = 5, 6  # fields of ModelInferResponse
_FINAL = "triton_final_response"

# Datatype -> the field of InferTensorContents that holds its elements. FP16 and BF16 have none.
_TYPED = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
_FIXED = {"FP32": 6, "FP64": 7}  # field numbers of the contents that are raw bytes
_ARRAYS = {
    "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q",
}  # fmt: skip

_Request = message("inference.ModelInferRequest")
_Input = message("inference.ModelInferRequest.InferInputTensor")
_Response = message("inference.ModelInferResponse")
_Output = message("inference.ModelInferResponse.InferOutputTensor")


class _Read(NamedTuple):
    """A checked message, with its tensors but those at `places` in shared memory.

    `raw` says that its answer is to have raw contents.
    """

    model: str
    version: str | None
    infer: Infer
    parts: tuple[Part, ...]
    raw: bool
    places: Places | None = None


class OipMessages:
    """The codec of ModelInfer. Tensors may lie in `regions` of shared memory, if there are any."""

    words: Words = "oip"

    def __init__(self, regions: Regions | None = None) -> None:
        self._regions = regions
        self._heads: Known[InferHead] = Known()
        self._tails: Known[InferTail] = Known()

    def locate(self, beginning: memoryview) -> tuple[str, str | None] | None:
        """Return the model and version, which come first in what every library writes."""
        return named_model(beginning)

    def tensor_at(self, beginning: memoryview) -> int:
        """Return where the first raw contents begin, as far as the beginning of a message tells."""
        return raw_at(beginning)

    def decode(self, call: OpenCall, data: Body) -> Asked:
        """Return what a message asks for. Raises BadRequest."""
        return self._decode(call, data, call.id)

    def _decode(self, call: OpenCall, data: Body, request_id: str) -> Asked:
        parts = cut(view(data))
        if parts is None:
            return self._asked(call, self._read(data), request_id, len(data))
        head = self._heads.get(parts.head)
        if head is None or not head.fits(parts.raw) or len(parts.id) > LONGEST_NAME:
            read = self._read(data)
            if read.places is None:
                infer = structs.replace(read.infer, id="")
                self._heads.put(parts.head, InferHead(read.model, read.version, infer, sizes_of(infer.inputs)))
            return self._asked(call, read, request_id, len(data))
        infer = structs.replace(head.infer, id=parts.id) if parts.id else head.infer
        tensors = tuple([Part(each.name, "", raw) for each, raw in zip(infer.inputs, parts.raw, strict=True)])
        return self._asked(call, _Read(head.model, head.version, infer, tensors, True), request_id, len(data))

    def _read(self, data: Body) -> _Read:
        """Read and check a message of which nothing is known. Raises BadRequest."""
        fields = split(view(data), _MOST_FIELDS)
        raw = [field.value for field in fields if field.number == _RAW and isinstance(field.value, memoryview)]
        given = [field.value for field in fields if field.number == _INPUTS and isinstance(field.value, memoryview)]
        rest = parse(_Request, b"".join(_whole(data, field) for field in fields if field.number not in {_RAW, _INPUTS}))
        request = InferRequest(
            _tensors(given, raw, rest.model_name),
            tuple(WantedOutput(each.name, True, parameters_of(each.parameters)) for each in rest.outputs),
            True,
            rest.id,
            parameters_of(rest.parameters),
        )
        check(request, shared_memory=True)
        request, places = places_of(request)
        parts = tuple([Part(each.name, "", each.data) for each in request.inputs])
        in_raw = bool(raw) or not given or (places is not None and len(places.inputs) == len(given))
        return _Read(rest.model_name, rest.model_version or None, infer_of(request), parts, in_raw, places)

    def _asked(self, call: OpenCall, read: _Read, request_id: str, size: int) -> Asked:
        head, infer = call.head, read.infer
        payload = Payload(
            request_id,
            read.parts,
            head.metadata,
            sooner(head.timeout, infer.parameters.get("timeout")),
            head.priority,
            infer,
        )
        tensors = None
        if read.places is not None:
            most = call.context.limits.max_request_size
            tensors = opened(read.places, self._regions, call.peer, head.fields, size, most)
        return Asked(read.model, read.version, payload, infer.id, read.raw, tensors)

    def check(self, asked: Asked) -> Steps | None:
        """Return the steps that read the lengths of BYTES elements, of raw contents that have them."""
        infer = asked.payload.infer
        heads = () if infer is None else infer.inputs
        elsewhere = () if asked.tensors is None else asked.tensors.places.inputs
        texts = [at for at, head in enumerate(heads) if head.datatype == "BYTES" and at not in elsewhere]
        return self._lengths(asked, texts) if texts and asked.detail else None

    def _lengths(self, asked: Asked, texts: Sequence[int]) -> Steps:
        assert asked.payload.infer is not None
        for at in texts:
            head = asked.payload.infer.inputs[at]
            told = f"Input {head.name!r}"
            yield from check_bytes(told, asked.payload.parts[at].body, count_of(told, head.shape))

    def encode(self, reply: Reply, asked: Asked, *, last: bool = True) -> tuple[Body, ...]:
        """Return a ModelInferResponse. Raises HandlerFailed for a reply that holds no tensors, or several answers."""
        if not asked.detail:
            return self._encode(read_answer(reply), asked)
        document, contents = cut_answer(reply)
        key = bytes(document)
        tail = self._tails.get(key)
        if tail is not None and tail.size == len(contents):
            return tail.message(contents)
        answer = read_answer(reply)
        buffers = self._encode(answer, asked)
        if not any(each.json for each in answer.outputs):  # the last of the message is two pieces for each output
            sizes = [len(each.data) for each in answer.outputs]
            head = b"".join(buffers[: len(buffers) - 2 * len(sizes)])
            self._tails.put(key, tail_of(head, _RAW_OUTPUTS, sizes))
        return buffers

    def _encode(self, answer: InferAnswer, asked: Asked) -> tuple[Body, ...]:
        made = _Response(
            model_name=answer.model, model_version=answer.version, id=answer.id, parameters=_given(answer.parameters)
        )
        tensors = [_packed(each) for each in answer.outputs]
        raw = asked.detail or any(each.datatype not in _TYPED for each in tensors)
        buffers: list[Body] = [made.SerializeToString()]
        for each in tensors:
            typed = () if raw or REGION in each.parameters else _contents(each)
            given = _given(each.parameters)
            head = _Output(
                name=each.name, datatype=each.datatype, shape=each.shape, parameters=given
            ).SerializeToString()
            size = len(head) + sum(map(len, typed))
            buffers += (head_of(_OUTPUTS, size), head, *typed)
        if raw:
            for each in tensors:
                buffers += (head_of(_RAW_OUTPUTS, len(each.data)), each.data)
        return tuple(buffers)

    def error(self, status: Status, asked: Asked | None) -> tuple[Body, ...]:
        """Return a ModelStreamInferResponse with an error."""
        named = bytes_field(2, bytes_field(_ID, asked.id.encode())) if asked is not None and asked.id else b""
        return (bytes_field(1, status.message.encode("utf-8", "replace")), named)


class OipStreamMessages(OipMessages):
    """The codec of ModelStreamInfer, whose answers are ModelStreamInferResponses."""

    def decode(self, call: OpenCall, data: Body) -> Asked:
        """Return what a message asks for. Raises BadRequest."""
        return self._decode(call, data, fresh_id())

    def encode(self, reply: Reply, asked: Asked, *, last: bool = True) -> tuple[Body, ...]:
        """Return a ModelStreamInferResponse, which says as Triton's do whether a request's further answers follow."""
        answer = read_answer(reply)
        buffers = self._encode(replace(answer, parameters=answer.parameters | {_FINAL: last}), asked)
        return (head_of(2, sum(map(len, buffers))), *buffers)


def parameters_of(given: Any) -> Parameters:
    """Return the parameters in a map of InferParameter, without those that have no value."""
    found: Parameters = {}
    for name, each in given.items():
        kind = each.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = getattr(each, kind)
    return found


def _given(parameters: Parameters) -> dict[str, Any]:
    """Return parameters as InferParameters."""
    return {name: {_choice(value): value} for name, value in parameters.items()}


def _choice(value: object) -> str:
    if isinstance(value, bool):
        return "bool_param"
    if isinstance(value, int):
        return "int64_param" if value < 2**63 else "uint64_param"
    return "string_param" if isinstance(value, str) else "double_param"


def _whole(data: Body, field: Field) -> memoryview:
    return view(data)[field.begin : field.end]


def _tensors(given: Sequence[memoryview], raw: Sequence[memoryview], model: str) -> tuple[Tensor, ...]:
    """Return the inputs, with their raw contents or their own, but for those in shared memory. Raises BadRequest."""
    read = [_head(each) for each in given]
    sent = [at for at, (head, _) in enumerate(read) if REGION not in head.parameters]
    if raw and len(raw) != len(sent):
        raise BadRequest(
            f"The request has {len(sent)} inputs that are not in shared memory, and {len(raw)} raw_input_contents: each"
            " needs one."
            if len(sent) < len(given)
            else f"The request has {len(given)} inputs and {len(raw)} raw_input_contents: each input needs one."
        )
    found = dict(zip(sent, raw, strict=False))
    return tuple([_tensor(head, contents, found.get(at), model) for at, (head, contents) in enumerate(read)])


def _head(data: memoryview) -> tuple[Any, list[memoryview]]:
    """Return an input without its contents, and those."""
    fields = split(data, _MOST_FIELDS)
    contents = [field.value for field in fields if field.number == _CONTENTS and isinstance(field.value, memoryview)]
    head = parse(_Input, b"".join(_whole(data, field) for field in fields if field.number != _CONTENTS))
    return head, contents


def _tensor(head: Any, contents: Sequence[memoryview], raw: memoryview | None, model: str) -> Tensor:
    told = f"Input {head.name[:256]!r}"
    size_of(told, head.datatype)
    if REGION in head.parameters:
        body = b"".join(contents)
    elif raw is None:
        body = _elements(told, head, contents)
    elif any(map(len, contents)):
        raise BadRequest(  # in Triton's words, which its clients look for
            "contents field must not be specified when using raw_input_contents for"
            f" {head.name[:256]!r} for model {model[:256]!r}: send one of them."
        )
    else:
        body = raw
    return Tensor(head.name, head.datatype, tuple(head.shape), body, False, parameters_of(head.parameters))


def _elements(told: str, head: Any, contents: Sequence[memoryview]) -> Body:
    """Return the raw bytes of typed contents. Raises BadRequest."""
    datatype = head.datatype
    field = _TYPED.get(datatype)
    if field is None:
        raise BadRequest(f"{told} is {datatype}, which has no typed contents: send raw_input_contents.")
    fixed = _FIXED.get(datatype)
    if fixed is not None and len(contents) == 1 and sys.byteorder == "little":
        packed = _only_field(contents[0])
        if packed is not None and packed.number == fixed and packed.kind == BYTES:
            assert isinstance(packed.value, memoryview)
            return packed.value
    parsed = parse(_Input, b"".join(bytes_field(_CONTENTS, bytes(each)) for each in contents)).contents
    for other, values in parsed.ListFields():
        if other.name != field:
            raise BadRequest(f"{told} is {datatype}, whose elements are {field}, and it has {other.name}.")
        if len(values) > _MOST_TYPED:
            raise BadRequest(
                f"{told} has {len(values)} elements in {field}, and at most {_MOST_TYPED} are accepted there: send"
                " raw_input_contents."
            )
    return pack(told, datatype, head.shape, list(getattr(parsed, field)))


def _only_field(data: memoryview) -> Field | None:
    """Return the field of a message that has one; else None."""
    try:
        found = split(data, 1)
    except BadMessage:
        return None
    return found[0] if found else None


def _packed(tensor: Tensor) -> Tensor:
    """Return a tensor with raw bytes, of one that may have JSON. Raises HandlerFailed."""
    if not tensor.json:
        return tensor
    import orjson

    try:
        data = pack(f"Output {tensor.name!r}", tensor.datatype, tensor.shape, orjson.loads(tensor.data))
    except (BadRequest, orjson.JSONDecodeError) as error:
        raise HandlerFailed(f"The model's answer is no tensor: {error}", 500) from None
    return Tensor(tensor.name, tensor.datatype, tensor.shape, data, False, tensor.parameters)


def _contents(tensor: Tensor) -> tuple[Body, ...]:
    """Return the field `contents` of an output: its elements in typed form."""
    datatype, data = tensor.datatype, tensor.data
    number = {"FP32": 6, "FP64": 7, "BOOL": 1}.get(datatype)
    if number is not None:  # protobuf's packed form of these is the raw bytes
        inner = head_of(number, len(data))
        return head_of(_CONTENTS, len(inner) + len(data)), inner, data
    if datatype == "BYTES":
        told = f"Output {tensor.name!r}"
        values: Any = unpack_bytes(told, data, count_of(told, tensor.shape))
    else:
        values = array(_ARRAYS[datatype], bytes(data))
        if sys.byteorder == "big":
            values.byteswap()
    made = _Output()
    getattr(made.contents, _TYPED[datatype]).extend(values)
    return (made.SerializeToString(),)
