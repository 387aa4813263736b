"""Predictions as messages: TorchServe's by gRPC, the Open Inference Protocol's as JSON, in binary form and by gRPC."""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from ..core.errors import BadRequest
from ..core.oip.datatypes import check_raw, count_of, pack, pack_bytes, size_of, unpack_bytes
from ..core.oip.infer_request import InferRequest, Tensor, check
from ..core.oip.rest import LENGTH_HEADER, read_document

PREDICTIONS = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
STREAM_PREDICTIONS = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
INPUT = "data"  # the input's name in a call of TorchServe's gRPC, as its own clients have it
_ARRAYS = {
    "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
    "FP32": "f", "FP64": "d",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorForm:
    """The form in which the bytes of a file are a tensor: its name, datatype and shape."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def request(self, data: bytes) -> InferRequest:
        """Return the request with these bytes as its only input. Raises BadRequest if they are not that tensor.

        Of BYTES, whose elements have lengths, the whole file is the one element.
        """
        if self.datatype == "BYTES":
            data = pack_bytes([data])
        check_raw(f"Input {self.name!r}", self.datatype, self.shape, len(data))
        return InferRequest((Tensor(self.name, self.datatype, self.shape, data),))


def read_form(text: str) -> TensorForm:
    """Return the form that NAME:DATATYPE:SHAPE says, as `image:FP32:1x3x224x224`. Raises ValueError."""
    name, _, rest = text.partition(":")
    datatype, _, sizes = rest.partition(":")
    try:
        shape = tuple(int(each) for each in sizes.split("x"))
        size_of(f"Input {name!r}", datatype)
        count = count_of(f"Input {name!r}", shape)
    except BadRequest as error:
        raise ValueError(error.message) from None
    except ValueError:
        raise ValueError(f"{text!r} is not NAME:DATATYPE:SHAPE, as image:FP32:1x3x224x224") from None
    if datatype == "BYTES" and count != 1:
        raise ValueError(f"{text!r}: a file is one element of BYTES, so that the shape is 1, or 1x1")
    return TensorForm(name, datatype, shape)


def read_request(document: bytes) -> InferRequest:
    """Return the request that a JSON document of the protocol makes, its tensors as raw bytes. Raises BadRequest."""
    read = read_document(document)
    request = replace(read, inputs=tuple([_packed(each) for each in read.inputs]))
    check(request)
    return request


def _packed(tensor: Tensor) -> Tensor:
    values = json.loads(bytes(tensor.data))
    data = pack(f"Input {tensor.name!r}", tensor.datatype, tensor.shape, values)
    return Tensor(tensor.name, tensor.datatype, tensor.shape, data, parameters=tensor.parameters)


def infer_path(model: str, version: str | None) -> str:
    """Return the path of the protocol's REST half."""
    of = "" if version is None else f"/versions/{quote(version, safe='')}"
    return f"/v2/models/{quote(model, safe='')}{of}/infer"


def predictions_message(model: str, version: str | None, data: bytes) -> bytes:
    """Return a PredictionsRequest."""
    from ..http.rpc.protos.messages import message

    made = message("org.pytorch.serve.grpc.inference.PredictionsRequest")
    return made(model_name=model, model_version=version or "", input={INPUT: data}).SerializeToString()


def infer_message(model: str, version: str | None, request: InferRequest) -> bytes:
    """Return a ModelInferRequest with raw contents."""
    from ..http.rpc.protos.messages import message

    made = message("inference.ModelInferRequest")(model_name=model, model_version=version or "", id=request.id)
    _fill(made.parameters, request.parameters)
    for each in request.inputs:
        head = made.inputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
        _fill(head.parameters, each.parameters)
        made.raw_input_contents.append(bytes(each.data))
    for wanted in request.outputs:
        _fill(made.outputs.add(name=wanted.name).parameters, wanted.parameters)
    return made.SerializeToString()


def _fill(into: Any, parameters: Mapping[str, bool | int | float | str]) -> None:
    for name, value in parameters.items():
        kind = "bool" if isinstance(value, bool) else "int64" if isinstance(value, int) else None
        kind = kind or ("string" if isinstance(value, str) else "double")
        setattr(into[name], f"{kind}_param", value)


def infer_json(request: InferRequest) -> bytes:
    """Return a request with the tensors' values in its JSON."""
    inputs = [{**_head(each), "data": values_of(each.datatype, each.shape, each.data)} for each in request.inputs]
    return json.dumps({**_frame(request), "inputs": inputs}).encode()


def infer_binary(request: InferRequest) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """Return a request in binary form, which asks for its answer in it, and the headers that say so."""
    inputs = [
        {**_head(each), "parameters": {**each.parameters, "binary_data_size": len(each.data)}}
        for each in request.inputs
    ]
    parameters = {**request.parameters, "binary_data_output": True}
    document = json.dumps({**_frame(request), "parameters": parameters, "inputs": inputs}).encode()
    return b"".join((document, *(each.data for each in request.inputs))), ((LENGTH_HEADER, str(len(document))),)


def _head(tensor: Tensor) -> dict[str, Any]:
    parameters = {"parameters": tensor.parameters} if tensor.parameters else {}
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), **parameters}


def _frame(request: InferRequest) -> dict[str, Any]:
    outputs = [{"name": each.name, "parameters": each.parameters} for each in request.outputs]
    given = {"id": request.id, "parameters": request.parameters, "outputs": outputs}
    return {name: value for name, value in given.items() if value}


def values_of(datatype: str, shape: Sequence[int], raw: Any) -> list[Any]:
    """Return the elements of a tensor as a flat list. Raises BadRequest."""
    check_raw("The tensor", datatype, shape, len(raw))
    if datatype == "BYTES":
        found = unpack_bytes("The tensor", raw, count_of("The tensor", shape))
        return [each.decode("utf-8", "backslashreplace") for each in found]
    if datatype == "BOOL":
        return [bool(each) for each in raw]
    if datatype == "FP16":
        return list(struct.unpack(f"<{len(raw) // 2}e", raw))
    if datatype == "BF16":  # the upper half of a float
        return [struct.unpack("<f", b"\0\0" + bytes(raw[at : at + 2]))[0] for at in range(0, len(raw), 2)]
    values: array[Any] = array(_ARRAYS[datatype], bytes(raw))
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()


def read_message(answer: bytes) -> dict[str, Any]:
    """Return the JSON document of a ModelInferResponse. Raises ValueError."""
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import DecodeError

    from ..http.rpc.protos.messages import message

    try:
        read = message("inference.ModelInferResponse").FromString(answer)
        document = MessageToDict(read, preserving_proto_field_name=True)
        document.pop("raw_output_contents", None)
        raw = read.raw_output_contents
        for at, each in enumerate(read.outputs):
            told = document["outputs"][at]
            told["shape"] = list(each.shape)  # protobuf's JSON has numbers of 64 bits as texts
            told.pop("contents", None)
            given = [list(values) for _, values in each.contents.ListFields()]
            told["data"] = (
                given[0] if given else values_of(each.datatype, each.shape, raw[at] if at < len(raw) else b"")
            )
    except (DecodeError, BadRequest, KeyError) as error:
        raise ValueError(f"no ModelInferResponse: {error}") from None
    return document


def read_binary(answer: bytes) -> dict[str, Any]:
    """Return the JSON document of an answer in binary form, whose JSON is followed by raw bytes. Raises ValueError."""
    document, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    at = end
    try:
        for each in document["outputs"]:
            size = each.get("parameters", {}).pop("binary_data_size", None)
            if size is not None:
                each["data"] = values_of(each["datatype"], each["shape"], answer[at : at + size])
                at += size
    except (BadRequest, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"no answer of the Open Inference Protocol: {error}") from None
    return document
