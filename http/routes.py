"""Routes: the table of everything that is answered. A listener mounts the rows of its apis."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ..core.oip.regions import Regions
from .api import health, inference, kserve_v1, management, metrics, open_inference, openai, shared_memory, workflows
from .api.dashboard import endpoints as dashboard
from .api.docs import endpoints as pages
from .openapi import document as openapi
from .openapi import operations as docs
from .openapi import profiles as profile_docs
from .openapi import workflows as workflow_docs
from .predict.codecs.oip_v2 import OipV2Codec
from .predict.codecs.openai import OpenAiCodec
from .predict.codecs.torchserve import TorchServeCodec
from .predict.codecs.workflow import WorkflowCodec
from .routing.route import ANY, APIS, DocumentOf, OpenInference, PredictRoute, Route
from .routing.table import Table

_SERVER = DocumentOf(openapi.server)
_MODEL = DocumentOf(openapi.model)
_PREDICTIONS = DocumentOf(openapi.predictions)

_PREDICT = PredictRoute(TorchServeCodec(explain="False", url_path=True), _PREDICTIONS)
_PREDICT_OR_UPGRADE = replace(_PREDICT, websocket=True)
_EXPLAIN = PredictRoute(TorchServeCodec(explain="True", url_path=True), _PREDICTIONS)
_KSERVE_PREDICT = PredictRoute(TorchServeCodec(explain="False"), _PREDICTIONS)
_INFER = PredictRoute(OipV2Codec(), _PREDICTIONS)
_KSERVE_EXPLAIN = PredictRoute(TorchServeCodec(explain="True"), _PREDICTIONS)
_SAGEMAKER = PredictRoute(TorchServeCodec(query=True), _PREDICTIONS)
# The oldest paths could be anybody's first segment, so that the fast path does not take them.
_LEGACY = PredictRoute(TorchServeCodec(query=True), _PREDICTIONS, fast=False)

_WORKFLOW = PredictRoute(WorkflowCodec(), DocumentOf(openapi.workflow))

_CHAT = PredictRoute(OpenAiCodec("v1/chat/completions"), _PREDICTIONS)
_COMPLETE = PredictRoute(OpenAiCodec("v1/completions"), _PREDICTIONS)
_EMBED = PredictRoute(OpenAiCodec("v1/embeddings"), _PREDICTIONS)

_SHARED_INFER = "/v2/models/{model}/infer"  # TorchServe's clients call it, too
_MODEL_PATHS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")

_OPEN_INFERENCE = (
    Route("inference", "GET", "/v2/health/live", open_inference.live, docs.OIP_LIVE, "open"),
    Route("inference", "GET", "/v2/health/ready", open_inference.ready, docs.OIP_READY, "open"),
    Route("inference", "GET", "/v2/models/stats", open_inference.statistics, docs.OIP_ALL_STATISTICS),
    *(
        Route("inference", method, f"{path}{rest}", answer, operation.of_version if "{version}" in path else operation)
        for path in _MODEL_PATHS
        for method, rest, answer, operation in (
            ("GET", "", open_inference.model, docs.OIP_MODEL),
            ("GET", "/ready", open_inference.model_ready, docs.OIP_MODEL_READY),
            ("GET", "/config", open_inference.configuration, docs.OIP_CONFIG),
            ("GET", "/stats", open_inference.statistics, docs.OIP_STATISTICS),
        )
    ),
    Route("inference", ANY, "/v2/repository/index", open_inference.index, docs.OIP_INDEX),
    *(
        Route(api, "POST", f"/v2/repository/models/{{model}}/{verb}", answer, operation, "management")
        for api in ("inference", "management")
        for verb, answer, operation in (
            ("load", open_inference.load, docs.OIP_LOAD),
            ("unload", open_inference.unload, docs.OIP_UNLOAD),
        )
    ),
)  # fmt: skip


_CUDA = "/v2/cudasharedmemory"
_REGIONS = "/v2/systemsharedmemory"
_CUDA_ROUTES = (
    Route("inference", "GET", f"{_CUDA}/status", shared_memory.cuda_status, docs.OIP_CUDA_REGIONS),
    Route("inference", "POST", f"{_CUDA}/unregister", shared_memory.cuda_unregister, docs.OIP_CUDA_UNREGISTER),
    Route(
        "inference", "POST", f"{_CUDA}/region/{{region}}/unregister", shared_memory.cuda_unregister,
        docs.OIP_CUDA_REGION_UNREGISTER,
    ),
    Route("inference", ANY, f"{_CUDA}/{{rest...}}", shared_memory.cuda, docs.OIP_CUDA),
)  # fmt: skip

_DASHBOARD = (
    Route("management", "GET", "/dashboard", dashboard.page, docs.PAGE, "open"),
    Route("management", "GET", "/dashboard/models/{model}/{version}", dashboard.model, docs.DETAIL),
)
# The log and the configuration are told to who has a key, or a process on this machine.
_TRUSTED = (
    Route("management", "GET", "/dashboard/events", dashboard.events, docs.EVENTS),
    Route("management", "GET", "/dashboard/settings", dashboard.settings, docs.SHOWN_SETTINGS),
)
_UNTRUSTED = (replace(_TRUSTED[0], answer=partial(dashboard.events, log=False)),)
_TRY = tuple(
    Route("management", ANY, f"/dashboard/predictions/{path}", replace(_PREDICT, fast=False), operation, "inference")
    for path, operation in (("{model}", docs.TRY), ("{model}/{version}", docs.TRY.of_version))
)
_DASHBOARD_FILE = Route("management", "GET", "/dashboard/{file}", dashboard.file, docs.PAGE_FILE, "open")

DOCS_ROUTES = tuple(
    Route(api, "GET", path, answer, operation, "open")
    for api in APIS
    for path, answer, operation in (("/docs", pages.page, docs.DOCS), ("/docs/{file}", pages.file, docs.DOCS_FILE))
)

_ROUTES = (
    *(Route(api, "OPTIONS", "/", _SERVER, docs.SERVER, "open") for api in APIS),
    *(Route(api, "GET", "/api-description", _SERVER, docs.SERVER_OLD, "open") for api in APIS),
    Route("inference", "GET", "/", kserve_v1.alive, docs.KSERVE_ALIVE, "open"),
    Route("inference", ANY, "/ping", inference.ping, docs.PING, "open"),
    Route("inference", ANY, "/health/live", health.live, docs.LIVE, "open"),
    Route("inference", ANY, "/health/ready", health.ready, docs.READY, "open"),
    Route("inference", ANY, "/predictions/{model}", _PREDICT_OR_UPGRADE, docs.PREDICT),
    Route("inference", ANY, "/predictions/{model}/{version}", _PREDICT_OR_UPGRADE, docs.PREDICT.of_version),
    Route("inference", ANY, "/predictions/{model}/{version}/{rest...}", _PREDICT, docs.PREDICT_REST),
    Route("inference", ANY, "/explanations/{model}", _EXPLAIN, docs.EXPLAIN),
    Route("inference", ANY, "/explanations/{model}/{version}", _EXPLAIN, docs.EXPLAIN.of_version),
    Route("inference", ANY, "/explanations/{model}/{version}/{rest...}", _EXPLAIN, docs.EXPLAIN_REST),
    Route("inference", ANY, "/wfpredict/{workflow}", _WORKFLOW, workflow_docs.PREDICTION),
    Route("inference", ANY, "/wfpredict/{workflow}/{rest...}", _WORKFLOW, workflow_docs.PREDICTION_REST),
    Route("inference", ANY, "/v1/models/{model}:predict", _KSERVE_PREDICT, docs.KSERVE_PREDICT),
    Route("inference", ANY, "/v1/models/{model}:explain", _KSERVE_EXPLAIN, docs.KSERVE_EXPLAIN),
    Route("inference", ANY, _SHARED_INFER, _INFER, docs.KSERVE_INFER),
    Route("inference", ANY, "/v2/models/{model}/explain", _KSERVE_EXPLAIN, docs.KSERVE_V2_EXPLAIN),
    Route("inference", ANY, "/v1/chat/completions", _CHAT, docs.CHAT),
    Route("inference", ANY, "/v1/completions", _COMPLETE, docs.COMPLETE),
    Route("inference", ANY, "/v1/embeddings", _EMBED, docs.EMBED),
    Route("inference", "GET", "/v1/models", openai.models, docs.OPENAI_MODELS),
    Route("inference", "GET", "/v1/models/{model}", openai.model, docs.OPENAI_MODEL),
    Route("inference", ANY, "/invocations", _SAGEMAKER, docs.INVOCATIONS),
    Route("inference", ANY, "/models/{model}/invoke", _SAGEMAKER, docs.INVOKE),
    Route("inference", ANY, "/{model}/predict", _LEGACY, docs.LEGACY_PREDICT),
    Route("inference", ANY, "/{model}/{version}/predict", _LEGACY, docs.LEGACY_PREDICT.of_version),
    Route("management", "GET", "/v1/models", kserve_v1.models, docs.KSERVE_MODELS),
    Route("management", "GET", "/v1/models/{model}", kserve_v1.model, docs.KSERVE_READY),
    Route("management", "GET", "/models", management.list_models, docs.LIST),
    Route("management", "POST", "/models", management.register, docs.REGISTER),
    Route("management", "GET", "/models/{model}", management.describe, docs.DESCRIBE),
    Route("management", "PUT", "/models/{model}", management.scale, docs.SCALE),
    Route("management", "DELETE", "/models/{model}", management.unregister, docs.UNREGISTER),
    Route("management", "OPTIONS", "/models/{model}", _MODEL, docs.MODEL),
    Route("management", "DELETE", "/models/{model}/cache", management.purge, docs.PURGE),
    Route("management", "DELETE", "/models/{model}/{version}/cache", management.purge, docs.PURGE.of_version),
    Route("management", "GET", "/models/{model}/traffic", management.traffic, docs.TRAFFIC),
    Route("management", "PUT", "/models/{model}/traffic", management.set_traffic, docs.SET_TRAFFIC),
    Route("management", "DELETE", "/models/{model}/traffic", management.clear_traffic, docs.CLEAR_TRAFFIC),
    Route("management", "GET", "/models/{model}/stacks", management.stacks, profile_docs.STACKS),
    Route("management", "POST", "/models/{model}/profile", management.profile, profile_docs.PROFILE),
    Route("management", "GET", "/models/{model}/{version}/stacks", management.stacks, profile_docs.STACKS.of_version),
    Route("management", "POST", "/models/{model}/{version}/profile", management.profile, profile_docs.OF_VERSION),
    Route("management", "GET", "/models/{model}/{version}", management.describe, docs.DESCRIBE.of_version),
    Route("management", "PUT", "/models/{model}/{version}", management.scale, docs.SCALE.of_version),
    Route("management", "DELETE", "/models/{model}/{version}", management.unregister, docs.UNREGISTER.of_version),
    Route("management", "OPTIONS", "/models/{model}/{version}", _MODEL, docs.MODEL.of_version),
    Route("management", "PUT", "/models/{model}/{version}/set-default", management.set_default, docs.SET_DEFAULT),
    Route("management", "GET", "/workflows", workflows.list_workflows, workflow_docs.WORKFLOWS),
    Route("management", "POST", "/workflows", workflows.register, workflow_docs.REGISTER),
    Route("management", "GET", "/workflows/{workflow}", workflows.describe, workflow_docs.DESCRIBE),
    Route("management", "DELETE", "/workflows/{workflow}", workflows.unregister, workflow_docs.REMOVE),
    Route("management", "GET", "/downloads", management.downloads, docs.DOWNLOADS),
    Route("management", ANY, "/token", management.renew_token, docs.TOKEN, "token"),
    Route("metrics", ANY, "/metrics", metrics.read, docs.METRICS),
    Route("metrics", ANY, "/metrics/{rest...}", metrics.read, docs.METRICS.named("metrics_rest", "The same.")),
)  # fmt: skip


def _with_regions(regions: Regions | None) -> tuple[Route, ...]:
    """Return the rows whose requests may use regions of shared memory, if there are any.

    A web page has no shared memory, so that it may call what registers it where it may command.
    """
    memory = shared_memory.SystemSharedMemory(regions)
    server = partial(open_inference.server, shared_memory=regions is not None)
    infer = replace(_INFER, codec=OipV2Codec(regions=regions))
    rows = (
        ("GET", "/status", memory.status, docs.OIP_REGIONS),
        ("GET", "/region/{region}/status", memory.status, docs.OIP_REGION),
        ("POST", "/region/{region}/register", memory.register, docs.OIP_REGION_REGISTER),
        ("POST", "/unregister", memory.unregister, docs.OIP_REGIONS_UNREGISTER),
        ("POST", "/region/{region}/unregister", memory.unregister, docs.OIP_REGION_UNREGISTER),
    )
    return (
        Route("inference", "GET", "/v2", server, docs.OIP_SERVER),
        Route("inference", ANY, f"{_MODEL_PATHS[1]}/infer", infer, docs.OIP_INFER),
        *(
            Route("inference", method, _REGIONS + rest, answer, operation, own_site_api="management")
            for method, rest, answer, operation in rows
        ),
    )


def dashboard_routes(*, trusted: bool = True, predicts: bool = True) -> tuple[Route, ...]:
    """Return the rows of the dashboard: with the log and the configuration if `trusted`, and a form if `predicts`."""
    rows = (*_DASHBOARD, *(_TRUSTED if trusted else _UNTRUSTED), *(_TRY if predicts else ()))
    return (*rows, _DASHBOARD_FILE)


def routes(open_inference: OpenInference = "on", regions: Regions | None = None) -> tuple[Route, ...]:
    """Return the table of a listener, of whose requests the tensors may lie in `regions`, if there are any.

    The rows of the dashboard are apart.
    """
    infer = _KSERVE_PREDICT
    if open_inference != "off":
        infer = PredictRoute(
            OipV2Codec(shared=True, enveloped=open_inference == "enveloped", regions=regions), _PREDICTIONS
        )
    base = tuple([replace(each, answer=infer) if each.path == _SHARED_INFER else each for each in _ROUTES])
    return base if open_inference == "off" else (*base, *_with_regions(regions), *_OPEN_INFERENCE, *_CUDA_ROUTES)


def further_routes(rows: tuple[Route, ...], health: str | None, predict: str | None) -> tuple[Route, ...]:
    """Return rows by which `health` answers as /ping does, and `predict` as /invocations, unless `rows` have the paths.

    The oldest paths don't count, in which any first segment is a model: `/v1/predict` would be one of the model `v1`.
    """
    more: list[Route] = []
    table = Table(["inference"], [row for row in rows if not row.path.startswith("/{")])
    if health is not None and not table.look_up(health):
        more.append(Route("inference", ANY, health, inference.ping, docs.HEALTH_ROUTE, "open"))
    if predict is not None and not table.look_up(predict):
        more.append(Route("inference", ANY, predict, _SAGEMAKER, docs.PREDICT_ROUTE))
    return tuple(more)


ROUTES = routes()
