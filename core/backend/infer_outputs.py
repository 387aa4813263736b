"""Turns what a handler returned for a request of the Open Inference Protocol into the answer's tensors.

A dict has an output under each key. A list or tuple of arrays has one for each of its elements, in the order of the
model's `outputs`. Anything else is one output. Of what has no tensor of its own, such as a dict within a dict, the
output is its JSON, as one element of BYTES. An answer of envelope kservev2 is taken as it is.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

import orjson

from ..errors import BadRequest
from ..handlers.context import RequestProcessor
from ..oip.datatypes import pack, pack_bytes
from ..oip.infer_answer import InferAnswer, plain_document, write_answer
from ..oip.infer_request import Tensor
from ..oip.rest import LENGTH_HEADER
from ..oip.signature import Signature
from ..payload import Body, Infer, TensorHead, WantedOutput
from ..wire.messages import Load, Result
from . import json_text
from .infer_inputs import DTYPES, as_array
from .isolation import failed_row
from .outputs import UnsupportedOutput, make_result

log = logging.getLogger(__name__)

_UNNAMED = "output_"
_COPIED = 1 << 16  # bytes of an output that are copied once more than needed, as a view of so few costs more
_DATATYPES = {"b1": "BOOL", **{code.strip("<"): name for name, code in DTYPES.items() if name != "BOOL"}}


def infer_result(
    processor: RequestProcessor, value: Any, infer: Infer, load: Load, signature: Signature | None, code: int
) -> tuple[Result, Body]:
    """Return the Result of a request of tensors and its body. What can't be an answer fails this request alone."""
    try:
        body, length = encode_answer(value, infer, load.model_name, load.model_version, signature)
    except BadRequest as error:
        return failed_row(400, error.message)
    except (UnsupportedOutput, TypeError, ValueError, OverflowError, RecursionError) as error:
        log.warning("model: %s, an answer can't be made tensors: %s", load.model_name, error)
        return failed_row(503, f"Unsupported model output data type: {error}")
    plain = not processor.get_response_headers() and not processor.get_response_status_phrase()
    if plain and code == processor.get_response_status_code() == 200 and len(body) <= load.max_response_size:
        return _result(length), body
    if length is not None:
        processor.add_response_property(LENGTH_HEADER, str(length))
    kind = "application/json" if length is None else "application/octet-stream"
    processor.add_response_property("content-type", kind)
    return make_result(processor, body, load.max_response_size, code)


@lru_cache(maxsize=256)
def _result(length: int | None) -> Result:
    """Return the Result of an answer of which the handler has set nothing else, and whose JSON is so long if raw bytes
    follow it.
    """
    if length is None:
        return Result(200, "", "application/json", ())
    return Result(200, "", "application/octet-stream", ((LENGTH_HEADER, str(length)),))


def encode_answer(
    value: Any, infer: Infer, model: str, version: str, signature: Signature | None = None
) -> tuple[Body, int | None]:
    """Return the body of the answer, and the length of its JSON if raw bytes follow that.

    Raises UnsupportedOutput for what can't be a tensor, BadRequest if the client wants an output that is not there.
    """
    plain = _plain_answer(value, infer, model, version, signature)
    if plain is not None:
        return plain
    declared = {spec.name: spec.datatype for spec in signature.outputs} if signature else {}
    id_, found = infer.id, dict(_named(value, list(declared)))
    if _is_answer(value):
        id_ = id_ or str(value.get("id") or "")
    wanted = infer.outputs or tuple([WantedOutput(name, infer.binary) for name in found])
    missing = [each.name for each in wanted if each.name not in found]
    if missing:
        raise BadRequest(f"Model {model} returned the outputs {', '.join(map(repr, found))}, and no {missing[0]!r}.")
    outputs = [_output(each, found[each.name], declared.get(each.name, "")) for each in wanted]
    return write_answer(InferAnswer(model, version, id_, tuple(outputs)))


def _plain_answer(
    value: Any, infer: Infer, model: str, version: str, signature: Signature | None
) -> tuple[Body, int | None] | None:
    """Return the answer that a dict of arrays is if the client wants all outputs in binary form and the model declares
    none; None of any other, or if something is wrong with it. Most answers are such.
    """
    if value.__class__ is not dict or not infer.binary or infer.outputs or signature is not None or "outputs" in value:
        return None
    letters, numpy = _by_letter(), sys.modules["numpy"]
    outputs: list[tuple[str, str, tuple[int, ...]]] = []
    raw: list[Body] = []
    for name, array in value.items():
        datatype = letters.get(array.dtype.char) if array.__class__ is numpy.ndarray else None
        if datatype is None or name.__class__ is not str:
            return None
        outputs.append((name, datatype, array.shape))
        raw.append(_raw(datatype, array))
    document = plain_document(model, version, infer.id, outputs, raw)
    return None if document is None else (b"".join((document, *raw)), len(document))


def _is_answer(value: Any) -> bool:
    outputs = value.get("outputs") if isinstance(value, dict) else None
    return isinstance(outputs, list) and all(isinstance(each, dict) and "name" in each for each in outputs)


def _named(value: Any, declared: list[str]) -> Iterable[tuple[str, Any]]:
    """Return the outputs by name."""
    if _is_answer(value):
        return [(str(each["name"]), _said(each)) for each in value["outputs"]]
    if isinstance(value, dict | Mapping):
        return [(str(name), each) for name, each in value.items()]
    if isinstance(value, list | tuple) and value and all(map(_is_array, value)):
        names = declared if len(declared) == len(value) else [f"{_UNNAMED}{index}" for index in range(len(value))]
        return list(zip(names, value, strict=True))
    return [(declared[0] if len(declared) == 1 else f"{_UNNAMED}0", value)]


def _is_array(value: Any) -> bool:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return True
    return torch is not None and isinstance(value, torch.Tensor)


def _said(output: dict[str, Any]) -> Any:
    """Return the array that an output of envelope kservev2 says."""
    name, datatype, data = str(output["name"]), output.get("datatype"), output.get("data")
    if datatype not in {*DTYPES, "BF16", "BYTES"} or not isinstance(data, list):
        return data
    shape = output.get("shape")
    shape = tuple(shape) if isinstance(shape, list | tuple) else (len(data),)
    if datatype == "BYTES":
        data = [each if isinstance(each, str | bytes) else json_text.dumps(each) for each in data]
    try:
        raw = pack(f"Output {name!r}", datatype, shape, data)
    except (BadRequest, TypeError) as error:
        raise UnsupportedOutput(str(error)) from None
    return as_array(TensorHead(name, datatype, shape), raw)


def _output(wanted: WantedOutput, value: Any, declared: str) -> Tensor:
    datatype, array = _array(wanted.name, value, declared)
    shape = tuple(array.shape)
    if wanted.binary:
        return Tensor(wanted.name, datatype, shape, _raw(datatype, array))
    return Tensor(wanted.name, datatype, shape, _text(wanted.name, datatype, array), json=True)


def _array(name: str, value: Any, declared: str) -> tuple[str, Any]:
    """Return an output's datatype and its elements, as an array; those of BF16 are its bits, of BYTES bytes objects."""
    import numpy as np

    plain = _by_letter().get(value.dtype.char) if value.__class__ is np.ndarray else None
    if plain is not None and declared in {"", plain}:
        return plain, value
    if isinstance(value, str | bytes | bytearray):
        value = np.array([value.encode() if isinstance(value, str) else bytes(value)], dtype=object)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        if tensor.dtype is torch.bfloat16:
            return "BF16", tensor.contiguous().view(torch.int16).numpy()
        value = tensor.numpy()
    if not isinstance(value, np.ndarray | np.generic):
        value = _from_python(np, value)
        if declared and declared != "BYTES" and value.dtype.kind != "O":
            value = _cast(name, value, declared)
    value = np.asarray(value)
    datatype = _DATATYPES.get(f"{value.dtype.kind}{value.dtype.itemsize}")
    if datatype is None:
        if value.dtype.kind not in "OSU":
            raise UnsupportedOutput(f"output {name!r} is an array of {value.dtype}, which no datatype is")
        datatype, value = "BYTES", _as_bytes(np, value)
    if declared == "BF16" and datatype == "FP32":
        return declared, _as_brain(np, value)
    if declared and datatype != declared:
        raise UnsupportedOutput(f"output {name!r} is declared as {declared}, and the handler returned {datatype}")
    return datatype, value


@cache
def _by_letter() -> dict[str, str]:
    """Return the datatypes of numbers by numpy's letter for them, of which it has two for some."""
    import numpy as np

    return {np.dtype(code).char: name for name, code in DTYPES.items()}


def _from_python(np: Any, value: Any) -> Any:
    """Return an array of a Python value: of numbers and texts as numpy makes it, of others their JSON."""
    if isinstance(value, bool | int | float):
        return np.array([value])
    if isinstance(value, list | tuple) and value:
        try:
            made = np.array(value)
        except (ValueError, TypeError, OverflowError):  # lists that differ in length
            made = None
        if made is not None and made.dtype.kind in "biuf":
            return made
        if all(isinstance(each, str | bytes) for each in value):
            return np.array(list(value), dtype=object)
    elif isinstance(value, list | tuple):
        return np.array(value, dtype=np.float32)
    return np.array([json_text.dumps(value).encode()], dtype=object)


def _cast(name: str, value: Any, declared: str) -> Any:
    if value.dtype.kind in "iub" or declared in {"FP16", "BF16", "FP32", "FP64"}:
        return value.astype(DTYPES.get(declared, "<f4"))
    raise UnsupportedOutput(f"output {name!r} is declared as {declared}, and the handler returned {value.dtype}")


def _as_brain(np: Any, value: Any) -> Any:
    """Return the bits of bfloat16: the upper halves of the floats, rounded to the nearest, ties to even."""
    words = np.ascontiguousarray(value).view(np.uint32)
    rounded = np.where(np.isnan(value), words | 0x400000, words + 0x7FFF + ((words >> 16) & 1))
    return (rounded >> 16).astype(np.uint16)


def _as_bytes(np: Any, value: Any) -> Any:
    made = np.empty(value.shape, dtype=object)
    for index, each in np.ndenumerate(value):
        made[index] = each if isinstance(each, bytes) else str(each).encode()
    return made


def _raw(datatype: str, array: Any) -> Body:
    if datatype == "BYTES":
        return pack_bytes(list(array.ravel()))
    if not array.dtype.isnative or sys.byteorder == "big":
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if array.nbytes < _COPIED or not array.flags.c_contiguous:
        return array.tobytes()
    return array.reshape(-1).view("u1").data


def _text(name: str, datatype: str, array: Any) -> bytes:
    """Return the elements as a flat JSON list. NaN and the infinities, which JSON lacks, are null."""
    import numpy as np

    if datatype == "BYTES":
        try:
            return json.dumps([each.decode() for each in array.ravel()]).encode()
        except UnicodeDecodeError:
            raise BadRequest(
                f"Output {name!r} has bytes that are no text: ask for it in binary form (binary_data: true)."
            ) from None
    flat = np.ascontiguousarray(array).ravel()
    if datatype == "BF16":
        flat = (flat.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return orjson.dumps(flat.astype(flat.dtype.newbyteorder("="), copy=False), option=orjson.OPT_SERIALIZE_NUMPY)
