"""The typed contents of tensors of the Open Inference Protocol: numbers and texts as protobuf has them.

Contents of FP32 and FP64 are the raw bytes of a tensor already. All others are converted one by one, which takes some
20 ns an element: so many that this would hold the event loop are converted in steps.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Any

from ...core.errors import BadRequest
from ...core.oip.datatypes import SIZES, check_count, count_of, pack, unpack_bytes
from ...core.oip.infer_request import Tensor
from ...core.payload import Body
from .answering import parse
from .codec import Steps
from .protos.messages import message
from .wire import BYTES, BadMessage, Field, bytes_field, head_of, split

CONTENTS = 5  # field of InferInputTensor and of InferOutputTensor
_MOST_TYPED = 1 << 20  # elements of typed contents that have to be converted one by one
_STEP = 1 << 14  # of them in a turn of the loop: 0.5 ms
AT_ONCE = 1 << 15  # bytes of all contents of a message that are converted in one turn

# Datatype -> the field of InferTensorContents that holds its elements. FP16 and BF16 have none.
TYPED = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
_FIXED = {"FP32": 6, "FP64": 7}  # field numbers of the contents that are raw bytes
_LAST = bytes(range(0x80))  # what the last byte of a number, of a field's tag and of a length may be
_LASTS = 3  # such bytes of an element at most: its own, and those of a tag and a length, if it comes by itself
_ARRAYS = {
    "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q",
}  # fmt: skip

_Input = message("inference.ModelInferRequest.InferInputTensor")
_Output = message("inference.ModelInferResponse.InferOutputTensor")


def elements(told: str, head: Any, contents: Sequence[memoryview], *, at_once: bool) -> tuple[Body, Steps | None]:
    """Return the raw bytes of typed contents or, unless `at_once`, the memory in which the steps put them. Raises
    BadRequest, as the steps do.
    """
    datatype = head.datatype
    field = TYPED.get(datatype)
    if field is None:
        raise BadRequest(f"{told} is {datatype}, which has no typed contents: send raw_input_contents.")
    fixed = _FIXED.get(datatype)
    if fixed is not None and len(contents) == 1 and sys.byteorder == "little":
        packed = _only_field(contents[0])
        if packed is not None and packed.number == fixed and packed.kind == BYTES:
            assert isinstance(packed.value, memoryview)
            return packed.value, None
    if fixed is None and datatype != "BYTES" and _surely_too_many(contents):
        raise BadRequest(
            f"{told} has more than {_MOST_TYPED} elements in {field}, which is what is accepted there: send"
            " raw_input_contents."
        )
    parsed = parse(_Input, b"".join(bytes_field(CONTENTS, bytes(each)) for each in contents)).contents
    for other, values in parsed.ListFields():
        if other.name != field:
            raise BadRequest(f"{told} is {datatype}, whose elements are {field}, and it has {other.name}.")
        if len(values) > _MOST_TYPED:
            raise BadRequest(
                f"{told} has {len(values)} elements in {field}, and at most {_MOST_TYPED} are accepted there: send"
                " raw_input_contents."
            )
    values = getattr(parsed, field)
    if at_once:
        return pack(told, datatype, head.shape, list(values)), None
    check_count(told, head.shape, count_of(told, head.shape), len(values))
    made = bytearray(len(values) * (SIZES[datatype] or 4))  # of BYTES the least that they can take
    return made, _packing(told, datatype, values, made)


def _surely_too_many(contents: Sequence[memoryview]) -> bool:
    """Return whether these can only be more numbers than are accepted.

    protobuf holds the interpreter while it reads a message, 14 ms for a megabyte of small numbers; to count takes one.
    """
    if sum([len(each) for each in contents]) <= _LASTS * _MOST_TYPED:
        return False
    lasts = sum([len(each) - len(bytes(each).translate(None, _LAST)) for each in contents])
    return lasts > _LASTS * _MOST_TYPED


def _packing(told: str, datatype: str, values: Any, made: bytearray) -> Steps:
    """Return the steps that put the raw bytes of elements into `made`, in place of what is there."""
    del made[:]
    for at in range(0, len(values), _STEP):
        if at:
            yield
        piece = values[at : at + _STEP]
        made += pack(told, datatype, (len(piece),), piece)


def _only_field(data: memoryview) -> Field | None:
    """Return the field of a message that has one; else None."""
    try:
        found = split(data, 1)
    except BadMessage:
        return None
    return found[0] if found else None


def contents_of(tensor: Tensor) -> tuple[Body, ...]:
    """Return the field `contents` of an output: its elements in typed form."""
    datatype, data = tensor.datatype, tensor.data
    number = {"FP32": 6, "FP64": 7, "BOOL": 1}.get(datatype)
    if number is not None:  # protobuf's packed form of these is the raw bytes
        inner = head_of(number, len(data))
        return head_of(CONTENTS, len(inner) + len(data)), inner, data
    if datatype == "BYTES":
        told = f"Output {tensor.name!r}"
        values: Any = unpack_bytes(told, data, count_of(told, tensor.shape))
    else:
        values = array(_ARRAYS[datatype], bytes(data))
        if sys.byteorder == "big":
            values.byteswap()
    made = _Output()
    getattr(made.contents, TYPED[datatype]).extend(values)
    return (made.SerializeToString(),)
