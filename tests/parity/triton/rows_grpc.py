"""The rows over gRPC: the same matters as over REST, by the messages of GRPCInferenceService."""

from __future__ import annotations

from typing import Any

from ..steps import Row, Rpc, Step
from .rows_rest import SIXTEEN, ints


def call(name: str, *steps: Step) -> Row:
    return Row(f"grpc: {name}", "11", "STANDARD", steps)


def ask(method: str, compression: str = "", **fields: Any) -> Rpc:
    return Rpc("grpc", method, (fields,), compression=compression)


def _tensor(name: str = "IN", datatype: str = "INT32", shape: tuple[int, ...] = (2,), **others: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)} | others


def _asked(model: str, *inputs: dict[str, Any], raw: tuple[bytes, ...] = (), **others: Any) -> dict[str, Any]:
    return {"model_name": model, "inputs": list(inputs), "raw_input_contents": list(raw)} | others


def _infer(
    model: str, *inputs: dict[str, Any], raw: tuple[bytes, ...] = (), compression: str = "", **others: Any
) -> Rpc:
    return Rpc("grpc", "ModelInfer", (_asked(model, *inputs, raw=raw, **others),), compression=compression)


def _stream(*asked: dict[str, Any]) -> Rpc:
    return Rpc("grpc", "ModelStreamInfer", asked)


TWO = (_tensor("INPUT0", shape=(1, 16)), _tensor("INPUT1", shape=(1, 16)))
RAW = (ints(*SIXTEEN), ints(*[1] * 16))
ONE, ONE_RAW = _tensor(), (ints(1, 2),)
_TYPED = _tensor(contents={"int_contents": [1, 2]})
_LATER = {"model_name": "later"}
_CONTENTS: dict[str, tuple[str, list[Any]]] = {
    "BOOL": ("bool_contents", [True, False]), "UINT8": ("uint_contents", [0, 255]), "INT8": ("int_contents", [-128, 127]),
    "INT64": ("int64_contents", [-(2**63), 1]), "UINT64": ("uint64_contents", [2**64 - 1, 1]),
    "FP32": ("fp32_contents", [0.5, -1.25]), "FP64": ("fp64_contents", [0.1, 1e300]),
    "BYTES": ("bytes_contents", [b"a", b"\xff\0"]),
}  # fmt: skip


def _sequence(number: int, name: Any, *, start: bool, end: bool) -> dict[str, Any]:
    kind = "string_param" if isinstance(name, str) else "int64_param"
    parameters = {
        "sequence_id": {kind: name},
        "sequence_start": {"bool_param": start},
        "sequence_end": {"bool_param": end},
    }
    return _asked("sums", _tensor(shape=(1,)), raw=(ints(number),), parameters=parameters, id=str(number))


ABOUT: tuple[Row, ...] = (
    call("live", ask("ServerLive")),
    call("ready", ask("ServerReady")),
    call("server metadata", ask("ServerMetadata")),
    call("model ready", ask("ModelReady", name="simple"), ask("ModelReady", name="simple", version="1")),
    call("ready of an unknown model", ask("ModelReady", name="nobody")),
    call("ready of an unknown version", ask("ModelReady", name="simple", version="9")),
    call("ready of no model", ask("ModelReady")),
    call("ready of a model that is not loaded", ask("ModelReady", name="later")),
    call("model metadata", ask("ModelMetadata", name="simple")),
    call("metadata of an unknown model", ask("ModelMetadata", name="nobody")),
    call("metadata of an unknown version", ask("ModelMetadata", name="simple", version="9")),
    call("metadata of no model", ask("ModelMetadata")),
    call("metadata of a version that is no number", ask("ModelMetadata", name="simple", version="one")),
    call("configuration", ask("ModelConfig", name="simple")),
    call("configuration of an unknown model", ask("ModelConfig", name="nobody")),
    call("an unknown method", ask("inference.GRPCInferenceService/Nothing")),
    call("an unknown service", ask("inference.Nobody/Nothing")),
    call("the standard health check", ask("grpc.health.v1.Health/Check")),
    call("the standard health check of the service", ask("grpc.health.v1.Health/Check", service="inference.GRPCInferenceService")),
    call("the standard health check of an unknown service", ask("grpc.health.v1.Health/Check", service="nobody")),
)  # fmt: skip

INFER: tuple[Row, ...] = (
    call("infer of raw contents", _infer("simple", *TWO, raw=RAW)),
    call("infer of a version", _infer("simple", *TWO, raw=RAW, model_version="1")),
    call("infer with an id", _infer("same_INT32", ONE, raw=ONE_RAW, id="mine")),
    call("infer with one output wanted", _infer("simple", *TWO, raw=RAW, outputs=[{"name": "OUTPUT1"}])),
    call("infer with gzip", _infer("simple", *TWO, raw=RAW, compression="Gzip")),
    call("infer with deflate", _infer("simple", *TWO, raw=RAW, compression="Deflate")),
    call("infer of typed contents", _infer("same_INT32", _TYPED)),
    *(call(f"infer of typed contents of {kind}",
           _infer(f"same_{kind}", _tensor(datatype=kind, contents={field: values})))
      for kind, (field, values) in _CONTENTS.items()),
    call("infer of nothing", _infer("same_INT32", _tensor(shape=(0,)), raw=(b"",))),
    call("infer with parameters of the client's",
         _infer("same_INT32", ONE, raw=ONE_RAW, parameters={"mine": {"string_param": "yes"}, "f": {"double_param": 0.5}})),
)  # fmt: skip

STREAMS: tuple[Row, ...] = (
    call("a stream", _stream(*(_asked("same_INT32", ONE, raw=(ints(n, n),), id=str(n)) for n in (1, 2)))),
    call("a stream whose second request fails", _stream(
        _asked("same_INT32", ONE, raw=ONE_RAW, id="1"), _asked("nobody", ONE, raw=ONE_RAW, id="2"),
    )),
    call("a stream with an error of the model", _stream(_asked("fails", _tensor(shape=(1,)), raw=(ints(1),), id="1"))),
    call("a model of many answers", _stream(_asked("repeats", _tensor(shape=(3,)), raw=(ints(1, 2, 3),), id="r"))),
    call("a model of many answers with a final empty one", _stream(_asked(
        "repeats", ONE, raw=ONE_RAW, id="r", parameters={"triton_enable_empty_final_response": {"bool_param": True}},
    ))),
    call("a model of one answer with a final empty one", _stream(_asked(
        "same_INT32", ONE, raw=ONE_RAW, id="o", parameters={"triton_enable_empty_final_response": {"bool_param": True}},
    ))),
    call("a model of many answers by ModelInfer", _infer("repeats", ONE, raw=ONE_RAW)),
    call("an empty stream", Rpc("grpc", "ModelStreamInfer", ())),
    call("a sequence on a stream", _stream(*(_sequence(n, 7, start=n == 1, end=n == 3) for n in (1, 2, 3)))),
    call("a sequence of calls", *(Rpc("grpc", "ModelInfer", (_sequence(n, "mine", start=n == 1, end=n == 2),)) for n in (1, 2))),
    call("a sequence that goes on without a start",
         Rpc("grpc", "ModelInfer", (_sequence(1, 99, start=False, end=False),))),
)  # fmt: skip

REPOSITORY: tuple[Row, ...] = (
    call("index of what is ready", ask("RepositoryIndex", ready=True)),
    call("load", ask("RepositoryModelLoad", **_LATER), ask("ModelReady", name="later")),
    call("load of an unknown model", ask("RepositoryModelLoad", model_name="nobody")),
    call("load of no model", ask("RepositoryModelLoad")),
    call("unload", ask("RepositoryModelUnload", **_LATER), ask("ModelReady", name="later")),
    call("unload of an unknown model", ask("RepositoryModelUnload", model_name="nobody")),
    call("statistics", _infer("same_UINT16", _tensor(datatype="UINT16"), raw=(b"1234",)), ask("ModelStatistics", name="same_UINT16")),
    call("statistics of an unknown model", ask("ModelStatistics", name="nobody")),
)  # fmt: skip

REFUSED: tuple[Row, ...] = (
    call("refused: an unknown model", _infer("nobody", ONE, raw=ONE_RAW)),
    call("refused: an unknown version", _infer("simple", *TWO, raw=RAW, model_version="9")),
    call("refused: no model", _infer("", ONE, raw=ONE_RAW)),
    call("refused: a model that is not loaded", _infer("later", ONE, raw=ONE_RAW)),
    call("refused: an input is missing", _infer("simple", TWO[0], raw=RAW[:1])),
    call("refused: no input", _infer("simple")),
    call("refused: an input of another name", _infer("same_INT32", _tensor("OTHER"), raw=ONE_RAW)),
    call("refused: another shape", _infer("simple", *({**each, "shape": [1, 4]} for each in TWO), raw=(ints(1, 1, 1, 1),) * 2)),
    call("refused: another datatype", _infer("same_INT32", _tensor(datatype="FP32"), raw=ONE_RAW)),
    call("refused: an unknown datatype", _infer("same_INT32", _tensor(datatype="INT33"), raw=ONE_RAW)),
    call("refused: a negative dimension", _infer("same_INT32", _tensor(shape=(-2,)), raw=ONE_RAW)),
    call("refused: too few raw bytes", _infer("same_INT32", ONE, raw=(ints(1),))),
    call("refused: fewer raw contents than inputs", _infer("simple", *TWO, raw=RAW[:1])),
    call("refused: more raw contents than inputs", _infer("same_INT32", ONE, raw=(*ONE_RAW, b"x"))),
    call("refused: raw contents and typed ones", _infer("same_INT32", _TYPED, raw=ONE_RAW)),
    call("refused: no contents", _infer("same_INT32", ONE)),
    call("refused: too few typed contents", _infer("same_INT32", _tensor(contents={"int_contents": [1]}))),
    call("refused: contents of another type", _infer("same_INT32", _tensor(contents={"fp32_contents": [1.0, 2.0]}))),
    call("refused: typed contents of FP16", _infer("same_FP16", _tensor(datatype="FP16", contents={"fp32_contents": [1.0, 2.0]}))),
    call("refused: a typed number that INT8 can't hold",
         _infer("same_INT8", _tensor(datatype="INT8", contents={"int_contents": [300, 1]}))),
    call("refused: an unknown output", _infer("simple", *TWO, raw=RAW, outputs=[{"name": "OTHER"}])),
    call("refused: lengths of BYTES that lie", _infer("same_BYTES", _tensor(datatype="BYTES"), raw=(b"\xff\0\0\0a\0\0\0\0",))),
    call("refused: no message", Rpc("grpc", "ModelInfer", (b"\xff\xff",))),
    call("the model raises an error", _infer("fails", _tensor(shape=(1,)), raw=(ints(1),))),
)  # fmt: skip

ROWS = (*ABOUT, *INFER, *STREAMS, *REPOSITORY, *REFUSED)
