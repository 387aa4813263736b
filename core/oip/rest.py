"""The JSON of the protocol's REST half, and its binary form, in which tensors' raw bytes follow the JSON.

The binary form is read by the front end, whose part of it is short. A document with the tensors' values in it is read
by the front end up to READ_AT_ONCE bytes, and by the worker beyond that: parsing holds Python's lock, so that no thread
could keep it from stopping the event loop. The values themselves stay the bytes that came until they are packed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final

import msgspec

from ..errors import BadRequest
from ..payload import Body, Parameters, WantedOutput
from .datatypes import pack
from .infer_request import LONGEST_NAME, REGION, InferRequest, Tensor

LENGTH_HEADER: Final = "Inference-Header-Content-Length"
READ_AT_ONCE: Final = 1 << 20  # bytes of JSON: 1 to 8 ms
PACKED_AT_ONCE: Final = 1 << 14  # bytes of JSON, of all tensors' values: 0.2 ms
_Size = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Given = dict[str, bool | int | float | str | None] | None
_ABSENT: Final = msgspec.Raw(b"")


class _Input(msgspec.Struct):
    name: str
    datatype: str
    shape: list[_Size]
    data: msgspec.Raw = _ABSENT
    parameters: _Given = None


class _Output(msgspec.Struct):
    name: str
    parameters: _Given = None


class _Request(msgspec.Struct):
    inputs: list[_Input]
    outputs: list[_Output] | None = None
    id: str | None = None
    parameters: _Given = None


class _Look(msgspec.Struct):
    inputs: msgspec.Raw = _ABSENT


_REQUEST: Final = msgspec.json.Decoder(_Request)
_LOOK: Final = msgspec.json.Decoder(_Look)


def begins_as_json(body: Body) -> bool:
    """Return whether the first of `body` that is no white space begins a JSON object. It looks at 64 bytes."""
    return bytes(body[:64]).lstrip()[:1] == b"{"


def is_infer_request(document: Body) -> bool:
    """Return whether a JSON document is a request of this protocol, however wrong: an object with a list of inputs.

    Whatever else clients of TorchServe send is theirs to agree upon with their handler.
    """
    try:
        found = bytes(memoryview(_LOOK.decode(document).inputs)[:1])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return found == b"["


def read_document(document: Body, binary: Body = b"") -> InferRequest:
    """Return the request in a JSON document, and in the raw bytes that follow it.

    The result's tensors are views of both. Raises BadRequest; `infer_request.check` has to look at the result.
    """
    try:
        read = _REQUEST.decode(document)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The JSON is no inference request: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"Malformed JSON in body: {error}.") from None
    except RecursionError:
        raise BadRequest("Malformed JSON in body: nested too deeply.") from None
    tensors: list[Tensor] = []
    rest, at = memoryview(binary), 0
    for each in read.inputs:
        parameters = _plain(each.parameters)
        size = parameters.pop("binary_data_size", None)
        has_data = len(memoryview(each.data)) > 0
        if size is None:
            if not has_data and REGION in parameters:
                tensors.append(Tensor(each.name, each.datatype, tuple(each.shape), b"", False, parameters))
                continue
            if not has_data:
                raise BadRequest(
                    f"Input {each.name[:LONGEST_NAME]!r} has neither data nor the parameter binary_data_size."
                )
            data: Body = memoryview(each.data)
        else:
            if has_data:
                raise BadRequest(
                    f"Input {each.name[:LONGEST_NAME]!r} has both data and the parameter binary_data_size."
                )
            data = _cut(each.name, rest, at, size)
            at += len(data)
        tensors.append(Tensor(each.name, each.datatype, tuple(each.shape), data, size is None, parameters))
    if at != len(rest):
        raise BadRequest(f"{len(rest)} bytes follow the JSON, and the inputs' binary_data_size are {at} in all.")
    return _request(read, tuple(tensors))


def _request(read: _Request, tensors: tuple[Tensor, ...]) -> InferRequest:
    parameters = _plain(read.parameters)
    binary = _switch("The request", parameters, "binary_data_output", default=False)
    outputs: list[WantedOutput] = []
    for each in read.outputs or ():
        own = _plain(each.parameters)
        outputs.append(
            WantedOutput(each.name, _switch(f"Output {each.name!r}", own, "binary_data", default=binary), own)
        )
    return InferRequest(tensors, tuple(outputs), binary, read.id or "", parameters)


def split(body: Body, header_length: str) -> tuple[Body, Body]:
    """Return the JSON and the raw bytes of a body in binary form. `header_length` is the header's text.

    Raises BadRequest.
    """
    digits = header_length.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
        raise BadRequest(f"{LENGTH_HEADER} must be the number of bytes of the JSON, not {header_length[:40]!r}.")
    length = int(digits)
    if not 0 < length <= len(body):
        raise BadRequest(f"{LENGTH_HEADER} is {length}, and the body has {len(body)} bytes.")
    view = memoryview(body)
    return view[:length], view[length:]


def _cut(name: str, rest: memoryview, at: int, size: object) -> memoryview:
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise BadRequest(
            f"Input {name[:LONGEST_NAME]!r}: binary_data_size must be a number of bytes, not {str(size)[:40]!r}."
        )
    if at + size > len(rest):
        raise BadRequest(
            f"Input {name[:LONGEST_NAME]!r}: binary_data_size is {size}, and {len(rest) - at} bytes are left of the"
            f" {len(rest)} that follow the JSON."
        )
    return rest[at : at + size]


def _plain(given: _Given) -> Parameters:
    return {name: value for name, value in (given or {}).items() if value is not None}


def _switch(what: str, parameters: Parameters, name: str, *, default: bool) -> bool:
    value = parameters.pop(name, default)
    if not isinstance(value, bool):
        raise BadRequest(f"{what}: {name} must be true or false, not {str(value)[:40]!r}.")
    return value


def packed(request: InferRequest) -> InferRequest:
    """Return the request with its values as raw bytes, if they are few enough to be packed by the front end.

    Raises BadRequest for values that don't fit their datatype and shape. The worker packs the others.
    """
    if sum([len(each.data) for each in request.inputs if each.json]) > PACKED_AT_ONCE:
        return request
    return replace(request, inputs=tuple([_packed(each) if each.json else each for each in request.inputs]))


def _packed(tensor: Tensor) -> Tensor:
    told = f"Input {tensor.name!r}"
    try:
        values = msgspec.json.decode(tensor.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"{told} has data that is no JSON: {error}.") from None
    return msgspec.structs.replace(tensor, data=pack(told, tensor.datatype, tensor.shape, values), json=False)


def wants_binary(request: InferRequest) -> bool:
    """Return whether a client has sent or wants tensors in binary form, or in shared memory."""
    asked = request.binary or any(each.binary or REGION in each.parameters for each in request.outputs)
    return asked or any(not each.json for each in request.inputs)
