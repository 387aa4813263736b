"""The Open Inference Protocol's messages, ModelInferRequest and ModelInferResponse, read and written.

Raw contents, and typed contents of FP32 and FP64, stay views of the message that came: protobuf's packed numbers of a
fixed size are the raw bytes of a tensor. The rest of a message is small, and goes through the protobuf library. An
answer has its tensors in the form in which the request had them, as KServe's does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import structs

from ...core.errors import BadRequest, HandlerFailed
from ...core.oip.datatypes import check_bytes, count_of, pack, size_of
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
from .infer_heads import LONGEST, InferHead, InferLayout, InferTail, Known, cut, layout_of, raw_at, sizes_of, tail_of
from .method import OpenCall
from .protos.messages import message
from .status import Status, Words
from .torchserve_messages import named_model
from .typed_contents import AT_ONCE, CONTENTS, TYPED, contents_of, elements
from .wire import Field, bytes_field, head_of, split, view

_MOST_FIELDS = 2048  # of a message: 256 inputs and outputs, their contents, 64 parameters, and some more
_MODEL, _VERSION, _ID, _INPUTS, _RAW = 1, 2, 3, 5, 7  # fields of ModelInferRequest
_OUTPUTS, _RAW_OUTPUTS = 5, 6  # fields of ModelInferResponse
_FINAL = "triton_final_response"

_Request = message("inference.ModelInferRequest")
_Input = message("inference.ModelInferRequest.InferInputTensor")
_Response = message("inference.ModelInferResponse")
_Output = message("inference.ModelInferResponse.InferOutputTensor")


class _Read(NamedTuple):
    """A checked message, with its tensors but those at `places` in shared memory.

    `raw` says that its answer is to have raw contents. `steps` are still to be taken to read typed contents.
    """

    model: str
    version: str | None
    infer: Infer
    parts: tuple[Part, ...]
    raw: bool
    places: Places | None = None
    steps: Steps | None = None


class OipMessages:
    """The codec of ModelInfer. Tensors may lie in `regions` of shared memory, if there are any."""

    words: Words = "oip"

    def __init__(self, regions: Regions | None = None) -> None:
        self._regions = regions
        self._layouts: Known[InferLayout] = Known()
        self._heads: Known[InferHead] = Known()
        self._tails: Known[InferTail] = Known()
        self._wholes: Known[_Read] = Known()  # messages whose tensors are all in shared memory

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
        message = data if isinstance(data, memoryview) else memoryview(data)
        layout = self._layouts.get(len(message))
        if layout is not None:
            known = self._known(call, message, layout, request_id)
            if known is not None:
                return known
        return self._asked(call, self._read_and_remember(data), request_id, len(data))

    def _known(self, call: OpenCall, data: memoryview, layout: InferLayout, request_id: str) -> Asked | None:
        """Return what a message asks for that is as one before, but for its id and its tensors; None if it is not."""
        for begin, end, there in layout.same:
            if data[begin:end].tobytes() != there:
                return None
        head, (begin, end) = layout.head, layout.id
        infer, raw, said = head.infer, layout.raw, call.head
        if end:
            try:
                named = str(data[begin:end], "utf-8")
            except UnicodeDecodeError:
                return None
            if len(named) > LONGEST_NAME:
                return None
            infer = structs.replace(infer, id=named)
        if len(raw) == 1:
            ((at, to),) = raw
            parts: tuple[Part, ...] = (Part(infer.inputs[0].name, "", data[at:to]),)
        else:
            places = zip(infer.inputs, raw, strict=True)
            parts = tuple([Part(each.name, "", data[at:to]) for each, (at, to) in places])
        timeout = sooner(said.timeout, infer.parameters.get("timeout")) if infer.parameters else said.timeout
        payload = Payload(request_id, parts, said.metadata, timeout, said.priority, infer)
        return Asked(head.model, head.version, payload, infer.id, True)

    def _read_and_remember(self, data: Body) -> _Read:
        """Read a message, whose head may be known, and remember what is not. Raises BadRequest."""
        parts = cut(view(data))
        if parts is None:
            return self._read_whole(data)
        head = self._heads.get(parts.head)
        if head is None or not head.fits(parts.raw) or len(parts.id) > LONGEST_NAME:
            read = self._read(data)
            if read.places is None:
                infer = structs.replace(read.infer, id="")
                head = InferHead(read.model, read.version, infer, sizes_of(infer.inputs))
                self._heads.put(parts.head, head, len(parts.head))
            return read
        self._layouts.put(len(data), layout_of(view(data), parts, head), len(parts.head))
        infer = structs.replace(head.infer, id=parts.id) if parts.id else head.infer
        tensors = tuple([Part(each.name, "", raw) for each, raw in zip(infer.inputs, parts.raw, strict=True)])
        return _Read(head.model, head.version, infer, tensors, True)

    def _read_whole(self, data: Body) -> _Read:
        """Read a message, and remember it if none of its tensors is in it: it is the same for each image that a client
        puts into shared memory. Raises BadRequest.
        """
        key = bytes(data) if len(data) <= LONGEST else b""
        read = self._wholes.get(key)
        if read is None:
            read = self._read(data)
            if key and read.places is not None and len(read.places.inputs) == len(read.parts):
                self._wholes.put(key, read, len(key))
        return read

    def _read(self, data: Body) -> _Read:
        """Read and check a message of which nothing is known. Raises BadRequest."""
        fields = split(view(data), _MOST_FIELDS)
        raw = [field.value for field in fields if field.number == _RAW and isinstance(field.value, memoryview)]
        given = [field.value for field in fields if field.number == _INPUTS and isinstance(field.value, memoryview)]
        rest = parse(_Request, b"".join(_whole(data, field) for field in fields if field.number not in {_RAW, _INPUTS}))
        tensors, steps = _tensors(given, raw, rest.model_name)
        request = InferRequest(
            tensors,
            tuple(WantedOutput(each.name, True, parameters_of(each.parameters)) for each in rest.outputs),
            True,
            rest.id,
            parameters_of(rest.parameters),
        )
        check(request, shared_memory=True)
        request, places = places_of(request)
        parts = tuple([Part(each.name, "", each.data) for each in request.inputs])
        in_raw = bool(raw) or not given or (places is not None and len(places.inputs) == len(given))
        infer = infer_of(request)
        return _Read(rest.model_name, rest.model_version or None, infer, parts, in_raw, places, steps)

    def _asked(self, call: OpenCall, read: _Read, request_id: str, size: int) -> Asked:
        head, infer = call.head, read.infer
        timeout = sooner(head.timeout, infer.parameters.get("timeout")) if infer.parameters else head.timeout
        payload = Payload(request_id, read.parts, head.metadata, timeout, head.priority, infer)
        tensors = None
        if read.places is not None:
            most = call.context.limits.max_request_size
            tensors = opened(read.places, self._regions, call.peer, head.fields, size, most)
        return Asked(read.model, read.version, payload, infer.id, read.raw, tensors, read.steps)

    def check(self, asked: Asked) -> Steps | None:
        """Return the steps that convert typed contents, or read the lengths of BYTES elements in raw contents."""
        if asked.steps is not None or not asked.detail:
            return asked.steps
        infer = asked.payload.infer
        heads = () if infer is None else infer.inputs
        for head in heads:
            if head.datatype == "BYTES":
                break
        else:
            return None
        elsewhere = () if asked.tensors is None else asked.tensors.places.inputs
        texts = [at for at, head in enumerate(heads) if head.datatype == "BYTES" and at not in elsewhere]
        return self._lengths(asked, texts) if texts else None

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
            if len(tail.raw) == 1:  # as `message` does, of which this saves the call
                return tail.head, tail.raw[0][0], contents
            return tail.message(contents)
        answer = read_answer(reply)
        buffers = self._encode(answer, asked)
        if not any(each.json for each in answer.outputs):  # the last of the message is two pieces for each output
            sizes = [len(each.data) for each in answer.outputs]
            head = b"".join(buffers[: len(buffers) - 2 * len(sizes)])
            self._tails.put(key, tail_of(head, _RAW_OUTPUTS, sizes), len(key))
        return buffers

    def _encode(self, answer: InferAnswer, asked: Asked) -> tuple[Body, ...]:
        made = _Response(
            model_name=answer.model, model_version=answer.version, id=answer.id, parameters=_given(answer.parameters)
        )
        tensors = [_packed(each) for each in answer.outputs]
        raw = asked.detail or any(each.datatype not in TYPED for each in tensors)
        buffers: list[Body] = [made.SerializeToString()]
        for each in tensors:
            typed = () if raw or REGION in each.parameters else contents_of(each)
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
        buffers = self._encode(structs.replace(answer, parameters=answer.parameters | {_FINAL: last}), asked)
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


def _tensors(
    given: Sequence[memoryview], raw: Sequence[memoryview], model: str
) -> tuple[tuple[Tensor, ...], Steps | None]:
    """Return the inputs, with their raw contents or their own, but for those in shared memory; and the steps that are
    still to be taken for it, if it takes many. Raises BadRequest.
    """
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
    at_once = sum([len(each) for _, contents in read for each in contents]) <= AT_ONCE
    made = [_tensor(head, contents, found.get(at), model, at_once=at_once) for at, (head, contents) in enumerate(read)]
    steps = [each for _, each in made if each is not None]
    return tuple([tensor for tensor, _ in made]), _in_turn(steps) if steps else None


def _in_turn(steps: list[Steps]) -> Steps:
    for each in steps:
        yield from each
        yield


def _head(data: memoryview) -> tuple[Any, list[memoryview]]:
    """Return an input without its contents, and those."""
    fields = split(data, _MOST_FIELDS)
    contents = [field.value for field in fields if field.number == CONTENTS and isinstance(field.value, memoryview)]
    head = parse(_Input, b"".join(_whole(data, field) for field in fields if field.number != CONTENTS))
    return head, contents


def _tensor(
    head: Any, contents: Sequence[memoryview], raw: memoryview | None, model: str, *, at_once: bool
) -> tuple[Tensor, Steps | None]:
    told = f"Input {head.name[:256]!r}"
    size_of(told, head.datatype)
    body: Body
    steps: Steps | None = None
    if REGION in head.parameters:
        body = b"".join(contents)
    elif raw is None:
        body, steps = elements(told, head, contents, at_once=at_once)
    elif any(map(len, contents)):
        raise BadRequest(  # in Triton's words, which its clients look for
            "contents field must not be specified when using raw_input_contents for"
            f" {head.name[:256]!r} for model {model[:256]!r}: send one of them."
        )
    else:
        body = raw
    made = Tensor(head.name, head.datatype, tuple(head.shape), body, False, parameters_of(head.parameters))
    return made, steps


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
