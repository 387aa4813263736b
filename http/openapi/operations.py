"""Operations: what the OpenAPI documents say of each route, under TorchServe's operation ids. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..routing.operation import TEXT, Operation, Parameter, Schema


def _object(*required: str, **properties: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


_NUMBER: Schema = {"type": "integer"}
_FLAG: Schema = {"type": "boolean"}


# ---- every API

_DOCUMENT = _object("openapi", "info", "paths", openapi=TEXT, info={"type": "object"}, paths={"type": "object"})
SERVER = Operation("apiDescription", "This document.", {200: _DOCUMENT})
SERVER_OLD = replace(SERVER, id="api-description", deprecated=True)

# ---- inference

PREDICT = Operation(
    "predictions",
    "Predict with the default version of a model. Every method will do; the model decides what bodies it takes. A GET"
    " that upgrades to a WebSocket makes each message a request, and a connection a sequence of a stateful model.",
    {200: None},
    errors=(400, 403, 404, 408, 413, 429, 503, 504, 507),
    method="POST",
    takes_body=True,
    media="*/*",
)
PREDICT_REST = PREDICT.named("version_predictions_url_path", "Predict; the handler gets the rest of the path.")
EXPLAIN = PREDICT.named("explanations", "Explain a prediction of the default version of a model.")
EXPLAIN_REST = PREDICT.named("version_explanations_url_path", "Explain; the handler gets the rest of the path.")
KSERVE_PREDICT = PREDICT.named("kserve_v1_predict", "Predict, as KServe's v1 protocol names it.")
KSERVE_EXPLAIN = PREDICT.named("kserve_v1_explain", "Explain, as KServe's v1 protocol names it.")
KSERVE_INFER = PREDICT.named("kserve_v2_infer", "Predict, as KServe's v2 protocol names it.")
KSERVE_V2_EXPLAIN = PREDICT.named("kserve_v2_explain", "Explain, as KServe's v2 protocol names it.")
INVOCATIONS = PREDICT.named(
    "invocations",
    "Predict, as SageMaker names it. The query's parameters reach the handler.",
    Parameter("model_name", "the model, if no field of a form names it; default: the only one loaded at start"),
)
PREDICT_ROUTE = INVOCATIONS.named("predict_route", "Predict, at the path that predict_route names.")
INVOKE = PREDICT.named("invoke", "Predict, as SageMaker's multi-model endpoints name it.")
LEGACY_PREDICT = replace(PREDICT.named("legacy_predict", "Predict, by the oldest path."), deprecated=True)

_STATUS = _object("status", status=TEXT)
PING = Operation("ping", "Whether no model has lost its workers for good.", {200: _STATUS, 500: _STATUS})
HEALTH_ROUTE = PING.named("health_route", "The same, at the path that health_route names.")
LIVE = Operation("live", "Whether the server runs.", {200: _object("live", live=_FLAG)})
_READY = _object("ready", ready=_FLAG, missing=_list(TEXT))
READY = Operation("ready", "Whether every model to load at start has its workers.", {200: _READY, 503: _READY})
KSERVE_ALIVE = Operation("kserve_v1_alive", "Whether the server runs, for KServe's clients.", {200: _STATUS})
KSERVE_MODELS = Operation("kserve_v1_models", "The models' names.", {200: _object("models", models=_list(TEXT))})
KSERVE_READY = Operation(
    "kserve_v1_ready",
    "Whether the default version of a model has its workers.",
    {200: _object("name", "ready", name=TEXT, ready=_FLAG)},
    errors=(404,),
)
_OPENAI_MODEL = _object(
    "id", "object", "created", "owned_by", id=TEXT, object=TEXT, created=_NUMBER, owned_by=TEXT, name=TEXT, ready=_FLAG
)
OPENAI_MODELS = Operation(
    "openai_models",
    "The models, as OpenAI's API and KServe's v1 protocol list them.",
    {200: _object("object", "data", "models", object=TEXT, data=_list(_OPENAI_MODEL), models=_list(TEXT))},
)
OPENAI_MODEL = Operation(
    "openai_model",
    "A model, as OpenAI's API shows it, and whether its default version has its workers, as KServe's v1 protocol does.",
    {200: _OPENAI_MODEL, 503: _OPENAI_MODEL},
    errors=(404,),
)
_GENERATE = replace(
    PREDICT, media="application/json", errors=(400, 401, 403, 404, 408, 413, 429, 503, 504, 507), error="OpenAiError"
)
_NAME: Schema = {"type": "string", "minLength": 1}
_SAMPLING: dict[str, Schema] = {
    "max_tokens": {"type": "integer", "minimum": 1}, "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1}, "n": {"type": "integer", "minimum": 1, "maximum": 8},
    "stream": _FLAG, "seed": _NUMBER, "stop": _list(TEXT),
}  # fmt: skip
_MESSAGE = _object(
    "role", "content", role={"type": "string", "enum": ["system", "user", "assistant"]}, content=TEXT
)  # fmt: skip
CHAT = replace(
    _GENERATE.named("openai_chat_completions", "Have a language model answer a chat, as OpenAI's API does."),
    body=_object("model", "messages", model=_NAME, messages=_list(_MESSAGE), **_SAMPLING),
)
COMPLETE = replace(
    _GENERATE.named("openai_completions", "Have a language model go on with a text, as OpenAI's API does."),
    body=_object("model", "prompt", model=_NAME, prompt=TEXT, **_SAMPLING),
)
EMBED = replace(
    _GENERATE.named("openai_embeddings", "Turn texts into vectors, as OpenAI's API does."),
    body=_object("model", "input", model=_NAME, input=_list(TEXT)),
)

# ---- the Open Inference Protocol


def _oip(
    id: str,  # noqa: A002 - it is Operation.id
    summary: str,
    answers: Mapping[int, Schema | None],
    *,
    errors: tuple[int, ...] = (),
    method: str = "GET",
) -> Operation:
    return Operation(id, summary, answers, errors=errors, method=method, error="OpenInferenceError")


OIP_INFER = replace(KSERVE_INFER.of_version, error="OpenInferenceError")
_ANY_OBJECT: Schema = {"type": "object"}
_TENSOR = _object("name", name=TEXT, datatype=TEXT, shape=_list(_NUMBER))
OIP_SERVER = _oip(
    "oip_server", "The server's name, version and extensions of the Open Inference Protocol.",
    {200: _object("name", "version", "extensions", name=TEXT, version=TEXT, extensions=_list(TEXT))},
)  # fmt: skip
OIP_LIVE = replace(LIVE, id="oip_live", error="OpenInferenceError")
_OIP_READY = _object("ready", ready=_FLAG)
OIP_READY = replace(READY, id="oip_ready", error="OpenInferenceError", answers={200: _OIP_READY, 503: _OIP_READY})
OIP_MODEL = _oip(
    "oip_model",
    "A model's versions, and the tensors that it takes and returns as far as they are known.",
    {200: _object(
        "name", "versions", "platform", "inputs", "outputs",
        name=TEXT, versions=_list(TEXT), platform=TEXT, inputs=_list(_TENSOR), outputs=_list(_TENSOR),
    )},
    errors=(404,),
)  # fmt: skip
_OIP_MODEL_READY = _object("name", "ready", name=TEXT, ready=_FLAG)
OIP_MODEL_READY = _oip(
    "oip_model_ready", "Whether a model has its workers.", {200: _OIP_MODEL_READY, 503: _OIP_MODEL_READY},
    errors=(404,),
)  # fmt: skip
OIP_CONFIG = _oip(
    "oip_config", "How a model is run, under the keys of Triton's configuration.", {200: _ANY_OBJECT}, errors=(404,)
)
OIP_STATISTICS = _oip(
    "oip_statistics", "How many requests of a model took how long, since it was registered.",
    {200: _object("model_stats", model_stats=_list(_ANY_OBJECT))}, errors=(404,),
)  # fmt: skip
OIP_ALL_STATISTICS = replace(OIP_STATISTICS, id="oip_all_statistics", summary="The statistics of all models.")
OIP_INDEX = _oip(
    "oip_index", "The registered versions and their states.",
    {200: _list(_object("name", "version", "state", name=TEXT, version=TEXT, state=TEXT, reason=TEXT))},
    errors=(400,), method="POST",
)  # fmt: skip
OIP_LOAD = _oip(
    "oip_load", "Register the archive of this name in the model store. Needs the management key.",
    {200: _ANY_OBJECT}, errors=(400, 404, 405, 409, 507), method="POST",
)  # fmt: skip
OIP_UNLOAD = _oip(
    "oip_unload", "Remove all versions of a model. Needs the management key.",
    {200: _ANY_OBJECT}, errors=(404, 405), method="POST",
)  # fmt: skip
_REGION = _object("name", "key", "offset", "byte_size", name=TEXT, key=TEXT, offset=_NUMBER, byte_size=_NUMBER)
OIP_REGIONS = _oip(
    "oip_shared_memory_status", "The shared memory regions that the client's user has registered.",
    {200: _list(_REGION)}, errors=(403,),
)  # fmt: skip
OIP_REGION = replace(
    OIP_REGIONS, id="oip_shared_memory_region_status", summary="One of these regions.", errors=(403, 404)
)
OIP_REGION_REGISTER = _oip(
    "oip_shared_memory_register",
    "Register a part of a POSIX shared memory that belongs to the client's user, under a name for requests.",
    {200: _ANY_OBJECT}, errors=(400, 403, 404, 409, 413, 503), method="POST",
)  # fmt: skip
OIP_REGIONS_UNREGISTER = _oip(
    "oip_shared_memory_unregister_all", "Forget all shared memory regions of the client's user.",
    {200: _ANY_OBJECT}, errors=(403,), method="POST",
)  # fmt: skip
OIP_REGION_UNREGISTER = replace(
    OIP_REGIONS_UNREGISTER, id="oip_shared_memory_unregister", summary="Forget a shared memory region, if it is there."
)
OIP_CUDA_REGIONS = _oip(
    "oip_cuda_shared_memory_status", "The regions of CUDA shared memory, of which there are none.",
    {200: _list(_ANY_OBJECT)},
)  # fmt: skip
OIP_CUDA_UNREGISTER = _oip(
    "oip_cuda_shared_memory_unregister_all", "Forget all regions of CUDA shared memory, of which there are none.",
    {200: _ANY_OBJECT}, method="POST",
)  # fmt: skip
OIP_CUDA_REGION_UNREGISTER = replace(
    OIP_CUDA_UNREGISTER, id="oip_cuda_shared_memory_unregister", summary="Forget a region, of which there are none."
)
OIP_CUDA = _oip("oip_cuda_shared_memory", "Not supported.", {}, errors=(400,), method="POST")

# ---- management

_WORKER = _object(
    "id", "startTime", "status", id=TEXT, startTime=TEXT, status={"type": "string", "enum": ["READY", "UNLOADING"]},
    memoryUsage=_NUMBER, pid=_NUMBER, gpu=_FLAG, gpuUsage=TEXT, lastError=TEXT,
    notes={"type": "object", "additionalProperties": TEXT},
    lastFailure=_object(
        "time", "kind", "message", "traceback", time=TEXT, kind=TEXT, message=TEXT, file=TEXT, line=_NUMBER,
        traceback=_list(TEXT),
    ),
)  # fmt: skip
_DESCRIBED = _object(
    "modelName", "modelVersion", "modelUrl", "minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "workers",
    "jobQueueStatus",
    modelName=TEXT, modelVersion=TEXT, modelUrl=TEXT, runtime=TEXT, minWorkers=_NUMBER, maxWorkers=_NUMBER,
    batchSize=_NUMBER, maxBatchDelay=_NUMBER, responseTimeout=_NUMBER, startupTimeout=_NUMBER, loadedAtStartup=_FLAG,
    workers=_list(_WORKER),
    jobQueueStatus=_object(
        "remainingCapacity", "pendingRequests", remainingCapacity=_NUMBER, pendingRequests=_NUMBER
    ),
)  # fmt: skip
_LISTED = _object("modelName", "modelUrl", modelName=TEXT, modelUrl=TEXT)
_SYNCHRONOUS = Parameter("synchronous", "answer once the workers are there", {"type": "boolean", "default": False})
_IGNORED = Parameter("timeout", "accepted and not looked at", {"type": "integer", "default": -1})


def _whole(name: str, summary: str, default: int | None = None) -> Parameter:
    return Parameter(name, summary, _NUMBER if default is None else {"type": "integer", "default": default})


LIST = Operation(
    "listModels",
    "The models, by name, in pages.",
    {200: _object("models", nextPageToken=TEXT, models=_list(_LISTED))},
    query=(
        _whole("limit", "how many at most, 100 at the most", 100),
        Parameter("next_page_token", "nextPageToken of the page before"),
    ),
    errors=(400,),
)
REGISTER = Operation(
    "registerModel",
    "Register a version of a model. The parameters may also be the keys of a JSON body.",
    {200: _STATUS, 202: _STATUS},
    errors=(400, 404, 405, 409, 507),
    query=(
        Parameter("url", "the archive: a file or folder of the model store, or a URL", required=True),
        Parameter("model_name", "instead of the manifest's name"),
        Parameter("handler", "instead of the manifest's handler"),
        Parameter("runtime", "instead of the manifest's", {"type": "string", "enum": ["python", "python3", "LSP"]}),
        _whole("batch_size", "requests that a batch may have", 1),
        _whole("max_batch_delay", "milliseconds that a request may wait for others", 100),
        _whole("response_timeout", "seconds that a batch may take", 120),
        _whole("startup_timeout", "seconds that a worker may take to load the model", 120),
        _whole("initial_workers", "workers to start with", 0),
        replace(_SYNCHRONOUS, schema={"type": "boolean", "default": True}),
        Parameter("s3_sse_kms", "whether the archive is encrypted by S3's KMS", {"type": "boolean", "default": False}),
    ),
    method="POST",
)
DESCRIBE = Operation(
    "describeModel",
    "A model's options, workers and queue.",
    {200: _list(_DESCRIBED)},
    errors=(404, 503, 507),
    query=(Parameter("customized", "ask the handler for its own description", {"type": "boolean", "default": False}),),
)
SCALE = Operation(
    "setAutoScale",
    "Set how many workers a model has.",
    {200: _STATUS, 202: _STATUS},
    errors=(400, 404, 507),
    query=(
        _whole("min_worker", "workers at least", 1),
        _whole("max_worker", "workers at most; default: min_worker"),
        _whole("number_gpu", "accepted and not looked at", 0),
        _SYNCHRONOUS,
        _IGNORED,
    ),
    method="PUT",
)
UNREGISTER = Operation(
    "unregisterModel",
    "Remove a model, once it has answered what it has accepted.",
    {200: _STATUS},
    errors=(403, 404, 405, 408),
    query=(_SYNCHRONOUS, _IGNORED),
    method="DELETE",
)
SET_DEFAULT = Operation(
    "setDefault", "Make a version the default of its model.", {200: _STATUS}, errors=(404,), method="PUT"
)
_SHARES: Schema = {"type": "object", "additionalProperties": _NUMBER}
TRAFFIC = Operation(
    "describeTraffic",
    "How the requests that name no version are shared among a model's versions.",
    {200: _object(
        "modelName", "defaultVersion", "weights", modelName=TEXT, defaultVersion=TEXT, weights=_SHARES, sticky=TEXT,
        shadow=_ANY_OBJECT,
        rollout=_object("version", "state", "reason", version=TEXT, state=TEXT, reason=TEXT),
    )},
    errors=(404,),
)  # fmt: skip
SET_TRAFFIC = Operation(
    "setTraffic",
    "Share them anew. Each other parameter is a version, and its value its percentage; together they are 100.",
    {200: _STATUS},
    errors=(400, 404),
    query=(
        Parameter("sticky", "a header: requests with one value of it go to one version"),
        Parameter("shadow", "a version that gets copies, whose answers are compared and thrown away"),
        _whole("shadow_percent", "the share of the requests that is copied", 100),
        _whole("shadow_limit", "copies that may run at a time; others are dropped", 8),
        Parameter("rollout", "a version that gets more and more, while it does well"),
        _whole("step", "percent that it gets more each time", 10),
        _whole("every", "seconds between two steps", 60),
        Parameter("max_error_rate", "failures, of 1, that cost it its share", {"type": "number", "default": 0.01}),
        Parameter("max_p99_ratio", "the same for its p99, in times the others'", {"type": "number", "default": 1.5}),
        _whole("min_requests", "requests without which nothing is decided", 100),
    ),
    method="PUT",
)
CLEAR_TRAFFIC = Operation(
    "clearTraffic", "Have the default version answer all of them.", {200: _STATUS}, errors=(404,), method="DELETE"
)
PURGE = Operation(
    "purgeCache", "Drop the answers that are kept, of all versions.", {200: _STATUS}, errors=(404,), method="DELETE"
)
_DOWNLOAD = _object(
    "url", "receivedBytes", "totalBytes", url=TEXT, receivedBytes=_NUMBER,
    totalBytes={"type": "integer", "nullable": True},
)  # fmt: skip
DOWNLOADS = Operation(
    "downloads",
    "The archives that are being downloaded, and how far they are; totalBytes is null while it is not known.",
    {200: _object("downloads", downloads=_list(_DOWNLOAD))},
)
MODEL = Operation("modelApiDescription", "How a model is managed.", {200: _DOCUMENT}, errors=(404,))
TOKEN = Operation(
    "renewToken",
    "Make a new key of this kind and write it into the key file. Only where tokens are on.",
    {200: None},
    errors=(400, 404),
    query=(Parameter("type", "the kind", {"type": "string", "enum": ["inference", "management"]}, required=True),),
)

# ---- pages

PAGE = Operation("dashboard", "The dashboard: a page for people.", {200: TEXT}, media="text/html")
PAGE_FILE = Operation("dashboardFile", "A file of the dashboard.", {200: None}, errors=(404,), media="*/*")
DOCS = Operation("docs", "This document as a page for people.", {200: TEXT}, media="text/html")
DOCS_FILE = Operation("docsFile", "A file of that page, or a .proto file.", {200: None}, errors=(404,), media="*/*")
EVENTS = Operation(
    "dashboardEvents",
    "The state of the server and its changes, as server-sent events, until the client leaves.",
    {200: TEXT},
    errors=(404, 503),
    media="text/event-stream",
)
DETAIL = Operation(
    "dashboardModel",
    "All that is known of a version: its description, and what batches of each size take.",
    {200: _object("described", "lacking", "rule", "costs", described=_DESCRIBED)},
    errors=(404,),
)
SHOWN_SETTINGS = Operation(
    "dashboardSettings",
    "The configuration, and where each value comes from; secrets are hidden.",
    {200: _list(_object("key", "value", "origin", key=TEXT, value=TEXT, origin=TEXT))},
    errors=(404,),
)
TRY = replace(
    PREDICT.named("dashboardPredictions", "Predict, for the dashboard's form: as on the inference API, with its key."),
)

# ---- metrics

METRICS = Operation(
    "metrics",
    "All metrics, or those that name[] names, as Prometheus text.",
    {200: TEXT},
    query=(Parameter("name[]", "a metric; may be given several times"),),
    media="text/plain; version=0.0.4; charset=utf-8",
)
