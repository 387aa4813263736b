"""inference_body(): the body of a request to a model whose inputs are known, for the OpenAPI documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

_MOST = 64  # values of an example's tensor; a larger one is left for its reader to fill
_VALUES: Mapping[str, Any] = {"BYTES": "text", "BOOL": False}


def inference_body(inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the body of an Open Inference Protocol's request with these inputs, and an example of it.

    `inputs` are those of the model's metadata. A dimension of any size (-1) is 1 in the example.
    """
    told = "; ".join(
        f"{each['name']}: {each.get('datatype', 'any datatype')} {list(each.get('shape') or ['any shape'])}"
        for each in inputs
    )
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"type": "string", "enum": [each["name"] for each in inputs]},
            "datatype": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "data": {"type": "array", "items": {}},
        },
    }
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {"inputs": {"type": "array", "items": tensor}},
        "example": {"inputs": [_example(each) for each in inputs]},
    }
    return {"description": f"Inputs: {told}.", "content": {"application/json": {"schema": schema}}}


def _example(known: Mapping[str, Any]) -> dict[str, Any]:
    datatype = known.get("datatype", "FP32")
    shape = [max(1, size) for size in known.get("shape") or [1]]
    value = _VALUES.get(datatype, 0.0 if datatype.startswith(("FP", "BF")) else 0)
    count = prod(shape)
    return {
        "name": known["name"],
        "datatype": datatype,
        "shape": shape,
        "data": [value] * count if count <= _MOST else [],
    }
