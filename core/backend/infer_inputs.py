"""Turns the requests of the Open Inference Protocol into what a handler gets: a dict of arrays, or an envelope's body.

An array is a view of the bytes that were received, read-only, and they are the next request's once the batch has been
answered: a handler copies what it keeps. Three are copies: BYTES, an array of bytes objects; BF16, which numpy lacks
and which comes as float32; and what lies at an odd address. numpy is imported here at the first such request.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import BadRequest
from ..oip.datatypes import check_raw, count_of, pack, unpack_bytes
from ..oip.infer_request import check, infer_of
from ..oip.rest import is_infer_request, read_document
from ..oip.signature import Signature, check_signature
from ..payload import Body, Infer, TensorHead

DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
Read = tuple[Infer, Sequence[Body]]
_MOST_KNOWN = 1024
_known: dict[tuple[str, tuple[int, ...]], tuple[int, Any]] = {}
"""The bytes and the numpy.dtype of tensors of numbers whose datatype and shape have come before, and are right."""


class TensorRow(dict[str, Any]):
    """A request as a handler gets it: a numpy array by each input's name.

    Under "body" it has what TorchServe hands over for such a request, the JSON object with its list of inputs, which is
    made when it is asked for; an input of that name comes first.
    """

    __slots__ = ("_bodies", "_infer")

    def __init__(self, arrays: dict[str, Any], infer: Infer, bodies: Sequence[Body]) -> None:
        super().__init__(arrays)
        self._infer = infer
        self._bodies = bodies

    def __missing__(self, key: str) -> Any:
        if key == "body":
            return as_document(self._infer, self._bodies)
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value under `key`, which may be "body", or the default."""
        return self[key] if key in self or key == "body" else default


def read_whole(body: Body, signature: Signature | None, model: str) -> Read | None:
    """Return the request in a JSON document that the front end has left to the worker, None if it is none.

    Raises BadRequest for a request that the front end would have refused.
    """
    if not is_infer_request(body):
        return None
    request = read_document(body)
    check(request)
    infer = infer_of(request)
    if signature is not None:
        check_signature(infer, signature, model)
    return infer, [each.data for each in request.inputs]


def tensor_row(infer: Infer, bodies: Sequence[Body], *, enveloped: bool) -> dict[str, Any]:
    """Return what the handler gets for a request. Raises BadRequest for elements that don't fit their datatype."""
    if enveloped:
        return {"body": as_document(infer, bodies)}
    arrays = {head.name: as_array(head, body) for head, body in zip(infer.inputs, bodies, strict=True)}
    return TensorRow(arrays, infer, bodies)


def as_array(head: TensorHead, body: Body) -> Any:
    """Return a tensor as a numpy array. Raises BadRequest."""
    known = _known.get((head.datatype, head.shape))
    if known is None or known[0] != len(body) or head.json:
        return _checked(head, body)
    return _view(head, known[1], body)


def _checked(head: TensorHead, body: Body) -> Any:
    """Return a tensor whose bytes may have to be converted, or of a shape that has not come before."""
    import numpy as np

    told = f"Input {head.name!r}"
    raw = pack(told, head.datatype, head.shape, _values(told, body)) if head.json else body
    check_raw(told, head.datatype, head.shape, len(raw))
    if head.datatype == "BYTES":
        elements = unpack_bytes(told, raw, count_of(told, head.shape))
        made = np.empty(len(elements), dtype=object)
        made[:] = elements
        return _shaped(made, head)
    if head.datatype == "BF16":
        return _shaped((np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4"), head)
    dtype = np.dtype(DTYPES[head.datatype])
    made = _view(head, dtype, raw)
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known[head.datatype, head.shape] = len(raw), dtype
    return made


def _view(head: TensorHead, dtype: Any, raw: Body) -> Any:
    """Return a tensor of numbers whose raw bytes are as many as its shape says."""
    import numpy as np

    try:
        found = np.ndarray(head.shape, dtype, raw)
    except ValueError:  # a shape without elements may have sizes that numpy can't multiply
        raise _too_large(head) from None
    flags = found.flags
    if not flags.aligned:
        found = found.copy()
        flags = found.flags
    flags.writeable = False
    return found


def _shaped(array: Any, head: TensorHead) -> Any:
    try:
        return array.reshape(head.shape)
    except ValueError:
        raise _too_large(head) from None


def _too_large(head: TensorHead) -> BadRequest:
    return BadRequest(f"Input {head.name!r} has a shape that is too large.")


def as_document(infer: Infer, bodies: Sequence[Body]) -> dict[str, Any]:
    """Return a request as the JSON object that its client might have sent. Raises BadRequest."""
    document: dict[str, Any] = {"id": infer.id} if infer.id else {}
    if infer.parameters:
        document["parameters"] = infer.parameters
    document["inputs"] = [_as_input(head, body) for head, body in zip(infer.inputs, bodies, strict=True)]
    if infer.outputs:
        document["outputs"] = [_as_output(wanted.name, wanted.parameters) for wanted in infer.outputs]
    return document


def _as_input(head: TensorHead, body: Body) -> dict[str, Any]:
    found: dict[str, Any] = {"name": head.name, "shape": list(head.shape), "datatype": head.datatype}
    if head.parameters:
        found["parameters"] = head.parameters
    if head.json:
        data = _values(f"Input {head.name!r}", body)
    elif head.datatype == "BYTES":
        data = [_as_text(each) for each in as_array(head, body).ravel()]
    else:
        data = as_array(head, body).ravel().tolist()
    return found | {"data": data}


def _as_output(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "parameters": parameters} if parameters else {"name": name}


def _as_text(element: bytes) -> str | bytes:
    try:
        return element.decode()
    except UnicodeDecodeError:
        return element


def _values(told: str, body: Body) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        pass
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{told} has data that is no JSON: {type(error).__name__}: {error}") from None
