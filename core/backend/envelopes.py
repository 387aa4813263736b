"""Request envelopes (`service_envelope`): unwrap the inputs of a protocol for the handler, and wrap its answers.

An envelope holds no state, so that a batch that fails leaves nothing for the next one.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..config.envelope_names import envelope_name
from ..handlers.context import Context
from ..handlers.prediction_exception import PredictionException
from .loader import EntryPoint

_DATATYPES = {"bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64"}


def enveloped(envelope: str, handle: EntryPoint) -> EntryPoint:
    """Return `handle` with an envelope around it. Raises ValueError for an unknown envelope."""
    around = ENVELOPES[envelope_name(envelope)]
    return lambda data, context: around(data, context, handle) if data else handle(data, context)


def _content(row: Mapping[str, Any]) -> Any:
    """Return a request's `data` field or its body, decoded as its content type asked."""
    return row.get("data") or row.get("body")


def _mapping(row: Mapping[str, Any], wanted: str) -> dict[str, Any]:
    """Return a request's JSON object, which must hold a list under `wanted`. Raises PredictionException.

    JSON is parsed here if the request's content type did not ask for that.
    """
    content = _content(row)
    if isinstance(content, (bytes, bytearray, str)):
        try:
            content = json.loads(content)
        except ValueError:
            content = None
    found = content if isinstance(content, dict) else row
    if not isinstance(found.get(wanted), list):
        raise PredictionException(f'The request is no JSON object with a list of "{wanted}".', 400)
    return dict(found)


def _regrouped(output: Any, counts: Sequence[int]) -> list[Any]:
    """Return the handler's elements, divided by request; a single request gets whatever was returned."""
    if len(counts) == 1:
        return [output]
    if not isinstance(output, list) or len(output) != sum(counts):
        return output  # the service reports the wrong count
    ends = [sum(counts[: index + 1]) for index in range(len(counts))]
    return [output[end - count : end] for end, count in zip(ends, counts, strict=True)]


def _body(data: Sequence[Mapping[str, Any]], context: Context, handle: EntryPoint) -> Any:
    return handle([_content(row) for row in data], context)


def _instances(data: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[int]]:
    each = [_mapping(row, "instances")["instances"] for row in data]
    return [instance for instances in each for instance in instances], [len(instances) for instances in each]


def _json(data: Sequence[Mapping[str, Any]], context: Context, handle: EntryPoint) -> Any:
    instances, counts = _instances(data)
    output = handle([_decoded(instance) for instance in instances], context)
    if not output:
        return output
    return [json.dumps({"predictions": group}) for group in _regrouped(output, counts)]


def _decoded(instance: Any) -> Any:
    """Return bytes for `{"b64": …}`, whether it is the instance itself or a column of it."""
    if not isinstance(instance, dict):
        return instance
    if list(instance) == ["b64"]:
        return b64decode(instance["b64"])
    is_coded = {key: isinstance(value, dict) and list(value) == ["b64"] for key, value in instance.items()}
    return {key: b64decode(value["b64"]) if is_coded[key] else value for key, value in instance.items()}


def _kserve(data: Sequence[Mapping[str, Any]], context: Context, handle: EntryPoint) -> Any:
    instances, counts = _instances(data)
    output = handle(instances, context)
    if not output:
        return output
    told = "explanations" if context.get_request_header(0, "explain") == "True" else "predictions"
    return [{told: group} for group in _regrouped(output, counts)]


def _kservev2(data: Sequence[Mapping[str, Any]], context: Context, handle: EntryPoint) -> Any:
    requests = [_mapping(row, "inputs") for row in data]
    inputs = [[_tensor(tensor) for tensor in request["inputs"]] for request in requests]
    output = handle([tensor for tensors in inputs for tensor in tensors], context)
    if not output:
        return output
    groups = _regrouped(output, [len(tensors) for tensors in inputs])
    model = context.manifest.get("model", {})
    return [
        {
            "id": str(request.get("id") or "").strip() or context.get_request_id(index),
            "model_name": model.get("modelName"),
            "model_version": model.get("modelVersion"),
            "outputs": [_output(tensor["name"], value) for tensor, value in zip(tensors, group, strict=False)],
        }
        for index, (request, tensors, group) in enumerate(zip(requests, inputs, groups, strict=True))
    ]


def _tensor(tensor: Any) -> dict[str, Any]:
    import numpy as np  # only this envelope needs it

    try:
        name, data, text = tensor["name"], tensor["data"], tensor["datatype"] == "BYTES"
        return {**tensor, "name": name, "data": data[0] if text else _shaped(np.array(data), tensor["shape"])}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise PredictionException(
            f"An input needs name, datatype, shape and data that agree: {type(error).__name__}: {error}", 400
        ) from None


def _shaped(array: Any, shape: Sequence[int]) -> Any:
    return array.reshape(tuple(shape)).tolist()


def _output(name: str, value: Any) -> dict[str, Any]:
    import numpy as np

    flat = np.array(value).flatten()
    kind = str(flat.dtype)
    datatype = _DATATYPES.get(kind) or (kind.upper() if "int" in kind else "BYTES")
    return {"name": name, "datatype": datatype, "data": flat.tolist(), "shape": list(flat.shape)}


ENVELOPES: dict[str, Callable[[Sequence[Mapping[str, Any]], Context, EntryPoint], Any]] = {
    "body": _body,
    "json": _json,
    "kserve": _kserve,
    "kservev2": _kservev2,
}
