"""TorchServe's two gRPC services (7.1 to 7.3)."""

from __future__ import annotations

from typing import Any

from ..steps import Lines, Row, Rpc, Setup
from .brief import core, ready, standard

_PREDICTIONS = "org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"


def _predict(method: str = "Predictions", model: str = "probe", *, metadata: Any = (), **others: Any) -> Rpc:
    asked = {"model_name": model} | others
    return Rpc("grpc", method, (asked,), metadata)


def _say(text: str, method: str = "Predictions") -> Rpc:
    return _predict(method, input={"say": text.encode()})


def _manage(method: str, **fields: Any) -> Rpc:
    return Rpc("grpc_management", method, (fields,), patience=60.0)


def _many(*texts: str, **others: Any) -> Rpc:
    asked = tuple({"model_name": "probe", "input": {"say": text.encode()}} | others for text in texts)
    return Rpc("grpc", "StreamPredictions2", asked)


PREDICTIONS: tuple[Row, ...] = (
    core("grpc: ping", "7.1", Rpc("grpc", "Ping")),
    core("grpc: a prediction", "7.1", _say("text hello")),
    core("grpc: several inputs", "7.1", _say("nothing"), _predict(input={"b": b"2", "a": b"\xff", "data": b'{"x": 1}'})),
    core("grpc: no input", "7.1", _predict()),
    core("grpc: metadata", "7.1", _predict(input={"a": b"1"}, metadata=(("x-mine", "yes"),))),
    core("grpc: a version", "7.1", _predict(model_version="1.0", input={"say": b"text v"})),
    core("grpc: answers of each kind", "7.1", *(_say(text) for text in ("number 5", "list", "true", "bytes 00ff", "big 9"))),
    core("grpc: a sequence that a plain model has no use for", "7.1", _predict(input={"say": b"text s"}, sequence_id="s")),
    core("grpc: an unknown model", "7.3", _predict(model="nobody")),
    core("grpc: an unknown version", "7.3", _predict(model_version="9")),
    core("grpc: no model", "7.3", _predict(model="")),
    *(core(f"grpc: PredictionException {code}", "7.3", _say(f"refuse {code} because"))
      for code in (200, 400, 401, 403, 404, 409, 413, 416, 418, 429, 499, 500, 501, 503, 504, 507, 513)),
    core("grpc: the handler fails", "7.3", _say("fail x")),
    core("grpc: the handler returns nothing", "7.3", _say("none")),
    core("grpc: the handler returns a mapping", "7.3", _say("mapping")),
    core("grpc: the handler returns too few", "7.3", _say("few")),
    core("grpc: the handler sets a status", "7.3", _say("status 404 Gone")),
    core("grpc: the handler sets a header and a type", "7.1", _say("header a=b"), _say("type application/json")),
    core("grpc: a message that is none", "7.3", Rpc("grpc", "Predictions", (b"\xff\xff\xff",))),
    core("grpc: a message above max_request_size", "7.3", _predict(input={"say": b"x" * 60_000})),
    core("grpc: gzip", "7.1", Rpc("grpc", "Predictions", ({"model_name": "probe", "input": {"say": b"text z"}},), (), "Gzip")),
    standard("grpc: deflate", "7.1",
             Rpc("grpc", "Predictions", ({"model_name": "probe", "input": {"say": b"text z"}},), (), "Deflate")),
    core("grpc: an unknown method", "7.3", Rpc("grpc", f"{_PREDICTIONS}s", (b"",))),
    core("grpc: an unknown service", "7.3", Rpc("grpc", "a.B/C", (b"",))),
    core("grpc: management on the inference port", "7.3",
         Rpc("grpc", "org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels")),
    core("grpc: the access log", "7.3", _say("text logged"),
         Lines("logs/access_log.log", r'("gRPC \S+/Predictions HTTP/2.0" \d+) \d+$', last=1)),
    core("grpc: a stream", "7.1", _say("stream 2", "StreamPredictions")),
    core("grpc: a stream of an unknown model", "7.3", _predict("StreamPredictions", model="nobody")),
    standard("grpc: no requests on a call for many", "7.1", Rpc("grpc", "StreamPredictions2", ())),
    core("grpc: a stream of a handler that does not stream", "7.1", _say("text x", "StreamPredictions")),
    core("grpc: a stream that is refused", "7.3", _say("refuse 404 gone", "StreamPredictions")),
    standard("grpc: many requests to a model that is not stateful", "7.1", _many("text a", sequence_id="s")),
)  # fmt: skip

MANAGEMENT: tuple[Row, ...] = (
    core("grpc: describe", "7.2", _manage("DescribeModel", model_name="echo")),
    core("grpc: describe all", "7.2", _manage("DescribeModel", model_name="echo", model_version="all")),
    core("grpc: describe, customized", "7.2", _manage("DescribeModel", model_name="describes", customized=True)),
    core("grpc: describe an unknown model", "7.3", _manage("DescribeModel", model_name="nobody")),
    core("grpc: describe an unknown version", "7.3", _manage("DescribeModel", model_name="echo", model_version="9")),
    core("grpc: describe no model", "7.3", _manage("DescribeModel")),
    core("grpc: list without a limit", "7.2", _manage("ListModels")),
    core("grpc: list", "7.2", _manage("ListModels", limit=1), _manage("ListModels", limit=1, next_page_token=1),
         _manage("ListModels", limit=-1), _manage("ListModels", limit=1000, next_page_token=-1)),
    core("grpc: register without a url", "7.3", _manage("RegisterModel")),
    core("grpc: register what is not there", "7.3", _manage("RegisterModel", url="nowhere.mar")),
    core("grpc: register a wrong runtime", "7.3", _manage("RegisterModel", url="other.mar", runtime="java")),
    core("grpc: register", "7.2", _manage("RegisterModel", url="other.mar", initial_workers=1, synchronous=True,
                                           batch_size=2, max_batch_delay=7, response_timeout=11)),
    core("grpc: describe what was registered", "7.2", _manage("DescribeModel", model_name="other")),
    core("grpc: register a registered version", "7.3", _manage("RegisterModel", url="other.mar")),
    core("grpc: scale", "7.2", _manage("ScaleWorker", model_name="other", min_worker=2, synchronous=True),
         _manage("ScaleWorker", model_name="other", model_version="1.0", min_worker=1, max_worker=1, synchronous=True),
         _manage("ScaleWorker", model_name="other", synchronous=True), _manage("ScaleWorker", model_name="other")),
    core("grpc: scale no model", "7.3", _manage("ScaleWorker")),
    core("grpc: scale an unknown model", "7.3", _manage("ScaleWorker", model_name="nobody", min_worker=1)),
    core("grpc: scale an unknown version", "7.3", _manage("ScaleWorker", model_name="other", model_version="9")),
    core("grpc: scale to less than the least", "7.3",
         _manage("ScaleWorker", model_name="other", min_worker=3, max_worker=2)),
    core("grpc: set the default", "7.2", _manage("SetDefault", model_name="other", model_version="1.0")),
    core("grpc: set the default wrongly", "7.3", _manage("SetDefault"), _manage("SetDefault", model_name="other"),
         _manage("SetDefault", model_name="other", model_version="9"), _manage("SetDefault", model_name="nobody")),
    core("grpc: unregister wrongly", "7.3", _manage("UnregisterModel", model_name="nobody"),
         _manage("UnregisterModel", model_name="other", model_version="9")),
    core("grpc: unregister no model", "7.3", _manage("UnregisterModel")),
    core("grpc: unregister", "7.2", _manage("UnregisterModel", model_name="other")),
)  # fmt: skip

_LIMITED = "max_request_size=50000\n"
_KEY = (("authorization", "Bearer {key:inference}"),)
_MANAGES = (("authorization", "Bearer {key:management}"),)
_REGISTER = {"url": "other.mar"}
LOCKED: tuple[Row, ...] = (
    core("grpc tokens: ping without a key", "10.3", Rpc("grpc", "Ping")),
    core("grpc tokens: ping with the key", "10.3", Rpc("grpc", "Ping", metadata=_KEY)),
    core("grpc tokens: predict without a key", "10.3", _predict(model="echo")),
    core("grpc tokens: predict with the other key", "10.3", _predict(model="echo", metadata=_MANAGES)),
    core("grpc tokens: predict with the key", "10.3", _predict(model="echo", input={"a": b"1"}, metadata=_KEY)),
    core("grpc tokens: list", "10.3", Rpc("grpc_management", "ListModels", ({"limit": 1},)),
         Rpc("grpc_management", "ListModels", ({"limit": 1},), _KEY),
         Rpc("grpc_management", "ListModels", ({"limit": 1},), _MANAGES)),
    core("grpc: registering is off", "10.4", Rpc("grpc_management", "RegisterModel", (_REGISTER,), _MANAGES),
         Rpc("grpc_management", "UnregisterModel", ({"model_name": "echo"},), _MANAGES),
         Rpc("grpc_management", "RegisterModel", (_REGISTER,))),
    core("grpc: scaling stays", "10.4", Rpc("grpc_management", "ScaleWorker", ({"model_name": "echo"},), _MANAGES)),
)  # fmt: skip

SETUPS: tuple[Setup, ...] = (
    Setup("grpc", PREDICTIONS, ready("probe"), ("probe=probe.mar",), properties=_LIMITED),
    Setup("grpc-management", MANAGEMENT, ready("echo", "describes"), ("echo.mar", "describes.mar"), ("other.mar",),
          properties="default_workers_per_model=1\n"),
    Setup("grpc-locked", LOCKED, models=("echo.mar",), archives=("other.mar",), flags=("--ncs",),
          properties="default_workers_per_model=1\ndisable_token_authorization=false\nenable_model_api=false\n"),
)  # fmt: skip
