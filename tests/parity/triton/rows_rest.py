"""The rows over REST: health, metadata, infer in JSON and in binary form, what is refused, and the repository."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

from ..steps import Call, Row, Step

_JSON = "application/json"


def rest(name: str, *steps: Step) -> Row:
    return Row(f"rest: {name}", "11", "STANDARD", steps)


def get(path: str) -> Call:
    return Call("inference", "GET", path)


def post(path: str, body: bytes | Any = b"", **headers: str) -> Call:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Call("inference", "POST", path, data, named or (("Content-Type", _JSON),))


def tensor(name: str = "IN", datatype: str = "INT32", shape: tuple[int, ...] = (2,), **others: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)} | others


def infer(model: str, *inputs: dict[str, Any], **others: Any) -> Call:
    return post(f"/v2/models/{model}/infer", {"inputs": list(inputs)} | others)


def binary(model: str, *inputs: tuple[dict[str, Any], bytes], length: str = "", **others: Any) -> Call:
    """An infer in binary form: each tensor's raw bytes follow the JSON."""
    heads = [{"parameters": {"binary_data_size": len(raw)}} | head for head, raw in inputs]
    document = json.dumps({"inputs": heads} | others).encode()
    headers = {"Inference-Header-Content-Length": length or str(len(document))}
    body = document + b"".join(raw for _, raw in inputs)
    return post(f"/v2/models/{model}/infer", body, Content_Type="application/octet-stream", **headers)


def packed(name: str, call: Call, body: bytes) -> Call:
    return Call("inference", call.method, call.path, body, (*call.headers, ("Content-Encoding", name)))


def asked_for(name: str, call: Call) -> Call:
    return Call("inference", call.method, call.path, call.body, (*call.headers, ("Accept-Encoding", name)))


def ints(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}i", *numbers)


SIXTEEN = list(range(16))
TWO = (tensor("INPUT0", shape=(1, 16), data=SIXTEEN), tensor("INPUT1", shape=(1, 16), data=[1] * 16))
RAW_TWO = (
    (tensor("INPUT0", shape=(1, 16)), ints(*SIXTEEN)),
    (tensor("INPUT1", shape=(1, 16)), ints(*[1] * 16)),
)
ONE = tensor(data=[1, 2])
_SIMPLE, _SAME = infer("simple", *TWO), infer("same_INT32", ONE)
_ONE_BYTES = json.dumps({"inputs": [ONE]}).encode()
_VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False], "UINT8": [0, 255], "UINT16": [0, 65535], "UINT32": [0, 2**32 - 1], "UINT64": [0, 2**64 - 1],
    "INT8": [-128, 127], "INT16": [-(2**15), 2**15 - 1], "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1], "FP16": [0.5, -2.0], "FP32": [0.5, -1.25], "FP64": [0.1, -1e300],
    "BYTES": ["a", "\u00e9"],
}  # fmt: skip

ABOUT: tuple[Row, ...] = (
    rest("live", get("/v2/health/live")),
    rest("ready", get("/v2/health/ready")),
    rest("server metadata", get("/v2")),
    rest("server metadata with a slash", get("/v2/")),
    rest("model metadata", get("/v2/models/simple")),
    rest("metadata of a version", get("/v2/models/simple/versions/1")),
    rest("metadata of an unknown model", get("/v2/models/nobody")),
    rest("metadata of an unknown version", get("/v2/models/simple/versions/9")),
    rest("metadata of a version that is no number", get("/v2/models/simple/versions/one")),
    rest("metadata of a model that is not loaded", get("/v2/models/later")),
    rest("model ready", get("/v2/models/simple/ready")),
    rest("version ready", get("/v2/models/simple/versions/1/ready")),
    rest("ready of an unknown model", get("/v2/models/nobody/ready")),
    rest("ready of an unknown version", get("/v2/models/simple/versions/9/ready")),
    rest("ready of a model that is not loaded", get("/v2/models/later/ready")),
    rest("configuration", get("/v2/models/simple/config")),
    rest("configuration of a version", get("/v2/models/simple/versions/1/config")),
    rest("configuration of an unknown model", get("/v2/models/nobody/config")),
    rest("an unknown path", get("/v2/nowhere")),
    rest("an unknown path of a model", get("/v2/models/simple/nowhere")),
    rest("metadata by POST", post("/v2/models/simple")),
    rest("infer by GET", get("/v2/models/simple/infer")),
    rest("live by POST", post("/v2/health/live")),
    rest("statistics before any request", get("/v2/models/fails/stats")),
    rest("index", post("/v2/repository/index")),
    rest("index of what is ready", post("/v2/repository/index", {"ready": True})),
)  # fmt: skip

INFER: tuple[Row, ...] = (
    rest("infer", _SIMPLE),
    rest("infer of a version", post("/v2/models/simple/versions/1/infer", {"inputs": list(TWO)})),
    rest("infer with nested data", infer("simple", *({**each, "data": [each["data"]]} for each in TWO))),
    rest("infer without a content type", Call("inference", "POST", _SIMPLE.path, _SIMPLE.body)),
    rest("infer with an id", infer("same_INT32", ONE, id="mine")),
    rest("infer with an empty id", infer("same_INT32", ONE, id="")),
    rest("infer with one output wanted", infer("simple", *TWO, outputs=[{"name": "OUTPUT1"}])),
    rest("infer with outputs in another order", infer("simple", *TWO, outputs=[{"name": "OUTPUT1"}, {"name": "OUTPUT0"}])),
    rest("infer with no output named", infer("simple", *TWO, outputs=[])),
    rest("infer with parameters of the client's", infer("same_INT32", ONE, parameters={"mine": "yes", "n": 3, "b": True})),
    rest("infer with an unknown key", infer("same_INT32", ONE, mine=1)),
    *(rest(f"infer of {kind}", infer(f"same_{kind}", tensor(datatype=kind, data=values)))
      for kind, values in _VALUES.items()),
    rest("infer of nothing", infer("same_INT32", tensor(shape=(0,), data=[]))),
    rest("infer of BYTES that are empty", infer("same_BYTES", tensor(datatype="BYTES", data=["", "b"]))),
    rest("infer of whole numbers as FP32", infer("same_FP32", tensor(datatype="FP32", data=[1, 2]))),
    rest("infer of an infinity that overflows FP32", infer("same_FP32", tensor(datatype="FP32", data=[1e39, 2]))),
)  # fmt: skip

BINARY: tuple[Row, ...] = (
    rest("binary there and JSON back", binary("simple", *RAW_TWO)),
    rest("binary there and back", binary("simple", *RAW_TWO, parameters={"binary_data_output": True})),
    rest("JSON there and binary back", infer("simple", *TWO, parameters={"binary_data_output": True})),
    rest("one output in binary form", binary("simple", *RAW_TWO, outputs=[
        {"name": "OUTPUT0", "parameters": {"binary_data": True}}, {"name": "OUTPUT1"},
    ])),
    rest("all outputs in binary form but one", binary("simple", *RAW_TWO, parameters={"binary_data_output": True}, outputs=[
        {"name": "OUTPUT0"}, {"name": "OUTPUT1", "parameters": {"binary_data": False}},
    ])),
    rest("BYTES in binary form", binary(
        "same_BYTES", (tensor(datatype="BYTES"), b"\1\0\0\0a\2\0\0\0\xff\0"), parameters={"binary_data_output": True},
    )),
    rest("BYTES that are no text as JSON", binary("same_BYTES", (tensor(datatype="BYTES"), b"\1\0\0\0a\2\0\0\0\xff\0"))),
    rest("FP16 in binary form", binary(
        "same_FP16", (tensor(datatype="FP16"), struct.pack("<2e", 0.5, -2)), parameters={"binary_data_output": True},
    )),
    rest("one input in binary form and one in JSON", binary("simple", RAW_TWO[0], (TWO[1] | {"parameters": {}}, b""))),
    rest("a request packed with gzip", packed("gzip", _SAME, zlib.compress(_ONE_BYTES, level=9, wbits=31))),
    rest("a request packed with deflate", packed("deflate", _SAME, zlib.compress(_ONE_BYTES))),
    rest("a request that says gzip and is not", packed("gzip", _SAME, _ONE_BYTES)),
    rest("a request packed in an unknown way", packed("br", _SAME, _ONE_BYTES)),
)  # fmt: skip

REFUSED: tuple[Row, ...] = (
    rest("refused: an unknown model", infer("nobody", ONE)),
    rest("refused: an unknown version", post("/v2/models/simple/versions/9/infer", {"inputs": list(TWO)})),
    rest("refused: a model that is not loaded", infer("later", ONE)),
    rest("refused: an input is missing", infer("simple", TWO[0])),
    rest("refused: no input", infer("simple")),
    rest("refused: an input of another name", infer("same_INT32", {**ONE, "name": "OTHER"})),
    rest("refused: one input too many", infer("same_INT32", ONE, {**ONE, "name": "OTHER"})),
    rest("refused: an input twice", infer("same_INT32", ONE, ONE)),
    rest("refused: another shape", infer("simple", *({**each, "shape": [1, 4], "data": [1] * 4} for each in TWO))),
    rest("refused: another rank", infer("simple", *({**each, "shape": [16]} for each in TWO))),
    rest("refused: inputs of unlike rows", infer("simple", TWO[0], {**TWO[1], "shape": [2, 16], "data": [1] * 32})),
    rest("refused: more rows than the batch", infer("simple", *({**e, "shape": [9, 16], "data": [1] * 144} for e in TWO))),
    rest("refused: no rows", infer("simple", *({**each, "shape": [0, 16], "data": []} for each in TWO))),
    rest("refused: another datatype", infer("same_INT32", {**ONE, "datatype": "INT64"})),
    rest("refused: an unknown datatype", infer("same_INT32", {**ONE, "datatype": "INT33"})),
    rest("refused: a negative dimension", infer("same_INT32", {**ONE, "shape": [-2]})),
    rest("refused: a dimension that is a text", infer("same_INT32", {**ONE, "shape": ["2"]})),
    rest("refused: too little data", infer("same_INT32", {**ONE, "data": [1]})),
    rest("refused: too much data", infer("same_INT32", {**ONE, "data": [1, 2, 3]})),
    rest("refused: data of another kind", infer("same_INT32", {**ONE, "data": ["a", "b"]})),
    rest("refused: fractions as INT32", infer("same_INT32", {**ONE, "data": [1.5, 2]})),
    rest("refused: a number that INT8 can't hold", infer("same_INT8", tensor(datatype="INT8", data=[300, 1]))),
    rest("refused: a number that INT32 can't hold", infer("same_INT32", {**ONE, "data": [2**40, 1]})),
    rest("refused: a negative number as UINT8", infer("same_UINT8", tensor(datatype="UINT8", data=[-1, 1]))),
    rest("refused: numbers as BYTES", infer("same_BYTES", tensor(datatype="BYTES", data=[1, 2]))),
    rest("refused: numbers as BOOL", infer("same_BOOL", tensor(datatype="BOOL", data=[1, 0]))),
    rest("refused: no data", infer("same_INT32", tensor())),
    rest("refused: no datatype", infer("same_INT32", {"name": "IN", "shape": [2], "data": [1, 2]})),
    rest("refused: no shape", infer("same_INT32", {"name": "IN", "datatype": "INT32", "data": [1, 2]})),
    rest("refused: no name", infer("same_INT32", {"shape": [2], "datatype": "INT32", "data": [1, 2]})),
    rest("refused: no inputs", post("/v2/models/same_INT32/infer", {"id": "x"})),
    rest("refused: inputs that are an object", post("/v2/models/same_INT32/infer", {"inputs": {}})),
    rest("refused: no JSON", post("/v2/models/same_INT32/infer", b'{"inputs": [')),
    rest("refused: an empty body", post("/v2/models/same_INT32/infer")),
    rest("refused: a list", post("/v2/models/same_INT32/infer", [])),
    rest("refused: an id that is a number", infer("same_INT32", ONE, id=5)),
    rest("refused: an unknown output", infer("simple", *TWO, outputs=[{"name": "OTHER"}])),
    rest("refused: an output twice", infer("simple", *TWO, outputs=[{"name": "OUTPUT0"}, {"name": "OUTPUT0"}])),
    rest("refused: too few raw bytes", binary("same_INT32", (tensor(), ints(1)))),
    rest("refused: too many raw bytes", binary("same_INT32", (tensor(), ints(1, 2, 3)))),
    rest("refused: raw bytes that nothing names", binary("same_INT32", (tensor(), ints(1, 2)), (ONE | {"parameters": {}}, b"123"))),
    rest("refused: binary_data_size beyond the body",
         binary("same_INT32", (tensor(parameters={"binary_data_size": 99}), ints(1, 2)))),
    rest("refused: binary_data_size that is a text",
         binary("same_INT32", (tensor(parameters={"binary_data_size": "8"}), ints(1, 2)))),
    rest("refused: lengths of BYTES that lie", binary("same_BYTES", (tensor(datatype="BYTES"), b"\xff\0\0\0a\0\0\0\0"))),
    rest("refused: a header length that is no number", binary("same_INT32", (tensor(), ints(1, 2)), length="x")),
    rest("refused: a header length beyond the body", binary("same_INT32", (tensor(), ints(1, 2)), length="9999")),
    rest("refused: a negative header length", binary("same_INT32", (tensor(), ints(1, 2)), length="-1")),
    rest("the model raises an error", infer("fails", tensor(shape=(1,), data=[1]))),
)  # fmt: skip

SEQUENCES: tuple[Row, ...] = (
    rest("a sequence", *(
        infer("sums", tensor(shape=(1,), data=[n]), parameters={
            "sequence_id": 7, "sequence_start": n == 1, "sequence_end": n == 3}) for n in (1, 2, 3)
    )),
    rest("a sequence whose id is a text", *(
        infer("sums", tensor(shape=(1,), data=[n]), parameters={
            "sequence_id": "mine", "sequence_start": n == 1, "sequence_end": n == 2}) for n in (1, 2)
    )),
    rest("a sequence that goes on without a start",
         infer("sums", tensor(shape=(1,), data=[1]), parameters={"sequence_id": 99})),
    rest("a stateful model without a sequence", infer("sums", tensor(shape=(1,), data=[1]))),
    rest("a model of many answers", infer("repeats", tensor(data=[1, 2]))),
)  # fmt: skip

_LOAD, _UNLOAD = "/v2/repository/models/{}/load", "/v2/repository/models/{}/unload"
REPOSITORY: tuple[Row, ...] = (
    rest("index with no JSON", post("/v2/repository/index", b"{")),
    rest("index by GET", get("/v2/repository/index")),
    rest("load", post(_LOAD.format("later")), get("/v2/models/later/ready"), infer("later", ONE)),
    rest("load again", post(_LOAD.format("later"), {})),
    rest("load of an unknown model", post(_LOAD.format("nobody"))),
    rest("load with no JSON", post(_LOAD.format("later"), b"{")),
    rest("unload", post(_UNLOAD.format("later"))),
    rest("unload of an unknown model", post(_UNLOAD.format("nobody"))),
    rest("statistics", infer("same_UINT32", tensor(datatype="UINT32", data=[1, 2])), get("/v2/models/same_UINT32/stats")),
    rest("statistics of a version", get("/v2/models/same_UINT32/versions/1/stats")),
    rest("statistics of an unknown model", get("/v2/models/nobody/stats")),
    rest("statistics of an unknown version", get("/v2/models/same_UINT32/versions/9/stats")),
)  # fmt: skip

ACTS = (*INFER, *BINARY, *SEQUENCES, *REPOSITORY, *REFUSED)
