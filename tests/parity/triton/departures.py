"""Where this server answers otherwise than Triton on purpose: the row, the reason, and what differs, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ANY = "<anything>"
_FAILED = {"error": ANY}

_KSERVE_HEALTH = "health has KServe's body, which its clients read; Triton's look at the status alone"
_IS_404 = "what is not there is a 404, as in KServe"
_IS_400 = "a request that is wrong is a 400, as in KServe: a 500 would be the server's fault, and be sent again"
_TORCHSERVE = "the path is TorchServe's, too, whose handlers take any method and any body"
_TYPED = "an answer has its tensors in the form of the request, as KServe's and MLServer's have"
_EXACT = "a number that the datatype can't hold is refused: Triton cuts it"
_NAMELESS = "the request lacks its model, which is not a model that is not found"
_FAILS = "a handler's error is TorchServe's answer, 503 or UNAVAILABLE, and its text is for the log alone"
_IDLE = "a stateful model begins a sequence with the first request that names it, as in TorchServe"
_EMPTY = "the body of a command is an empty object"
_REASON = "the index always has a reason, and names what is registered, not what might be"
_FINAL = "the last piece says that it is the last: Triton's backend says so behind it"
_OUTPUT = "what a worker takes around its handler is told as input: it is not measured apart"
_OWN = "names, versions and options are this server's own"


def _rest(status: int, body: Any = None) -> dict[str, Any]:
    """A whole answer of ours."""
    failed = status >= 400
    headers = {} if failed else {"content-type": "application/json"}
    return {"status": status, "headers": headers, "body": (_FAILED if failed else ANY) if body is None else body}


def _rpc(status: str, *messages: Any) -> dict[str, Any]:
    return {"status": status, "message": ANY, "messages": list(messages)}


def _each(reason: str, edits: Mapping[str, Any], *rows: str) -> dict[str, tuple[str, Mapping[str, Any]]]:
    return dict.fromkeys(rows, (reason, edits))


def _health(body: Any) -> dict[str, Any]:
    return {"0/headers/content-type": "application/json", "0/body": body}


def _typed(datatype: str, **contents: Any) -> dict[str, tuple[str, Mapping[str, Any]]]:
    edits = {"0/messages/0/outputs/0/contents": contents, "0/messages/0/raw_output_contents": None}
    return {f"grpc: infer of typed contents{datatype}": (_TYPED, edits)}


_READY = {"name": "simple", "ready": True}
_CONFIGURED = {
    "0/body": {
        "name": "simple", "platform": "pytorch", "backend": "torchserve", "version_policy": {"all": {}}, "max_batch_size": 8,
        "input": [{"name": name, "data_type": "TYPE_INT32", "dims": [16], "format": "FORMAT_NONE"} for name in ("INPUT0", "INPUT1")],
        "output": [{"name": name, "data_type": "TYPE_INT32", "dims": [16]} for name in ("OUTPUT0", "OUTPUT1")],
        "instance_group": [{"name": "simple", "count": 1, "kind": "KIND_CPU"}],
        "dynamic_batching": {"max_queue_delay_microseconds": 1000},
    },
}  # fmt: skip
_COUNTED = {"inference_stats/compute_output/ns": 0, "response_stats": None, "memory_usage": None}


def _counted(step: int, **more: Any) -> dict[str, Any]:
    edits = _COUNTED | more
    return {f"{step}/body/model_stats/0/{path}": value for path, value in edits.items()}


DEPARTURES: dict[str, tuple[str, Mapping[str, Any]]] = {
    **_each(_KSERVE_HEALTH, _health({"live": True}), "rest: live"),
    **_each(_KSERVE_HEALTH, _health({"ready": True}), "rest: ready"),
    **_each(_KSERVE_HEALTH, _health(_READY), "rest: model ready", "rest: version ready"),
    **_each(_OWN, {"0/body/name": "torchserve", "0/body/version": ANY, "0/body/extensions": ANY}, "rest: server metadata"),
    **_each("a slash at the end is none", {"0": _rest(200)}, "rest: server metadata with a slash"),
    **_each(_OWN, {"0/body/platform": "pytorch"}, "rest: model metadata", "rest: metadata of a version"),
    **_each(
        _IS_404, {"0": _rest(404)},
        "rest: ready of an unknown model", "rest: ready of an unknown version", "rest: ready of a model that is not loaded",
        "rest: statistics of an unknown model", "rest: statistics of an unknown version", "rest: load of an unknown model",
        "rest: unload of an unknown model",
    ),
    **_each(_OWN, _CONFIGURED, "rest: configuration", "rest: configuration of a version"),
    **_each(_TORCHSERVE, {"0": _rest(503)}, "rest: infer by GET", "rest: refused: no inputs",
            "rest: refused: inputs that are an object", "rest: refused: an empty body", "rest: refused: a list"),
    **_each("the index may be read, too", {"0": _rest(200)}, "rest: index by GET"),
    **_each("outputs come in the order in which they were asked for", {"0/body/outputs": ANY},
            "rest: infer with outputs in another order"),
    **_each("FP16 has numbers in JSON, too", {"0": _rest(200)}, "rest: infer of FP16"),
    **_each("JSON has no infinity", {"0/body/outputs/0/data": [None, 2.0]}, "rest: infer of an infinity that overflows FP32"),
    **_each("binary_data_output is the default of each output, as the protocol says", {
        "0": _rest(200) | {"headers": {"content-type": "application/octet-stream", "inference-header-content-length": "<length>"},
                           "raw": ANY},
    }, "rest: all outputs in binary form but one"),
    **_each("bytes that are no text are not JSON", {"0": _rest(400)}, "rest: BYTES that are no text as JSON"),
    **_each("a body that is not what its head says is refused", {"0": _rest(400)},
            "rest: a request that says gzip and is not", "rest: a request packed in an unknown way"),
    **_each(_IDLE, {"0": _rest(200)}, "rest: a sequence that goes on without a start",
            "rest: a stateful model without a sequence"),
    **_each(_IDLE, {"0": _rpc("OK", ANY)}, "grpc: a sequence that goes on without a start"),
    **_each("a handler that streams is answered in chunks, one JSON each", {"0": _rest(200)}, "rest: a model of many answers"),
    **_each(_REASON, {"0/body": ANY}, "rest: index", "rest: index of what is ready"),
    **_each(_EMPTY, {"0/body": {}, "1/headers/content-type": "application/json", "1/body": {"name": "later", "ready": True}},
            "rest: load"),
    **_each(_EMPTY, {"0/body": {}}, "rest: load again", "rest: unload"),
    **_each(_IS_400, {"0": _rest(400)}, "rest: index with no JSON", "rest: load with no JSON", *(
        f"rest: refused: {what}" for what in (
            "a negative dimension", "a dimension that is a text", "too little data", "too much data", "data of another kind",
            "fractions as INT32", "a negative number as UINT8", "numbers as BYTES", "numbers as BOOL", "no datatype", "no shape",
            "no name", "no JSON", "an id that is a number", "binary_data_size that is a text",
        )
    )),
    **_each(_OUTPUT, _counted(1, **{"batch_stats/0/compute_output/ns": 0}), "rest: statistics"),
    **_each(_OUTPUT, _counted(0, **{"batch_stats/0/compute_output/ns": 0}), "rest: statistics of a version"),
    **_each(_OUTPUT, _counted(0), "rest: statistics before any request"),
    **_each("rows beyond a batch go to the next one", {"0": _rest(200)}, "rest: refused: more rows than the batch"),
    **_each(_EXACT, {"0": _rest(400)}, "rest: refused: a number that INT8 can't hold",
            "rest: refused: a number that INT32 can't hold"),
    **_each("an output that is asked for twice is a mistake", {"0": _rest(400)}, "rest: refused: an output twice"),
    **_each(_FAILS, {"0": _rest(503)}, "rest: the model raises an error"),
    **_each(_OWN, {"0/messages/0/name": "torchserve", "0/messages/0/version": ANY, "0/messages/0/extensions": ANY},
            "grpc: server metadata"),
    **_each(_NAMELESS, {"0": _rpc("INVALID_ARGUMENT")}, "grpc: ready of no model", "grpc: metadata of no model",
            "grpc: load of no model", "grpc: refused: no model"),
    **_each(_OWN, {"0/messages/0/platform": "pytorch"}, "grpc: model metadata"),
    **_each("versions are names", {"0": _rpc("NOT_FOUND")}, "grpc: metadata of a version that is no number"),
    **_each(_OWN, {"0/messages/0/config/platform": "pytorch", "0/messages/0/config/backend": "torchserve"},
            "grpc: configuration"),
    **_each("the standard health check knows services and models by name", {"0": _rpc("NOT_FOUND")},
            "grpc: the standard health check of an unknown service"),
    **_typed("", int_contents=[1, 2]),
    **_typed(" of BOOL", bool_contents=[True, False]),
    **_typed(" of UINT8", uint_contents=[0, 255]),
    **_typed(" of INT8", int_contents=[-128, 127]),
    **_typed(" of INT64", int64_contents=[str(-(2**63)), "1"]),
    **_typed(" of UINT64", uint64_contents=[str(2**64 - 1), "1"]),
    **_typed(" of FP32", fp32_contents=[0.5, -1.25]),
    **_typed(" of FP64", fp64_contents=[0.1, 1e300]),
    **_typed(" of BYTES", bytes_contents=["YQ==", "/wA="]),
    **_each("an error tells the request's id", {"0/messages/0/infer_response": {"id": "1"}},
            "grpc: a stream with an error of the model"),
    **_each(_FINAL, {"0/messages/2/infer_response/parameters/triton_final_response/bool_param": True},
            "grpc: a model of many answers"),
    **_each(_FINAL, {"0/messages/1/infer_response/parameters/triton_final_response/bool_param": True, "0/messages/2": None},
            "grpc: a model of many answers with a final empty one"),
    **_each(_IS_404, {"0": _rpc("NOT_FOUND")}, "grpc: load of an unknown model", "grpc: unload of an unknown model",
            "grpc: statistics of an unknown model"),
    **_each(_OUTPUT, {f"1/messages/0/model_stats/0/{path}/compute_output/ns": None for path in ("inference_stats", "batch_stats/0")},
            "grpc: statistics"),
    **_each("each input has its contents, and there are no others", {"0": _rpc("INVALID_ARGUMENT")},
            "grpc: refused: more raw contents than inputs"),
    **_each(_EXACT, {"0": _rpc("INVALID_ARGUMENT")}, "grpc: refused: a typed number that INT8 can't hold"),
    **_each("a message that is none is the client's fault", {"0": _rpc("INVALID_ARGUMENT")}, "grpc: refused: no message"),
    **_each(_FAILS, {"0": _rpc("UNAVAILABLE")}, "grpc: the model raises an error"),
}  # fmt: skip


def allowed(field: str, theirs: Any, ours: Any) -> bool:
    """Whether a field may differ in every row.

    Errors are told in words of this server's own, with TorchServe's keys beside the protocol's where the path is
    TorchServe's, too. The order of the keys of a JSON object says nothing.
    """
    if theirs == ANY or field.endswith("(order)"):
        return True
    if field in {"code", "type", "message"} and theirs == "(not there)":
        return True
    return field in {"error", "message", "error_message"} and isinstance(ours, str) and bool(ours)
