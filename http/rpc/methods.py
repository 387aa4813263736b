"""METHODS: the table of everything that can be called by gRPC, as routes.py is for HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from ...core.oip.regions import Regions
from ..auth import Scope
from ..message.sequence_headers import SequenceHeaders
from . import health, inference, management, oip, reflection, shared_memory
from .answering import Answering, Endpoint
from .method import Exchange, Method, OpenCall, RpcApi
from .oip_messages import OipMessages, OipStreamMessages
from .predict import PredictMany, PredictOne
from .protos.messages import message, service
from .torchserve_messages import SequenceMessages, TorchServeMessages


def methods(
    apis: Iterable[RpcApi],
    headers: SequenceHeaders,
    *,
    open_inference: bool = True,
    commands: bool = True,
    regions: Regions | None = None,
) -> dict[str, Method]:
    """Return what a port that serves these APIs answers, by path.

    Without `open_inference` the Open Inference Protocol is not spoken, whose tensors may lie in `regions` of shared
    memory, if there are any. Without `commands` nothing but the management API registers and removes models.
    """
    rows: list[Method] = []
    if "inference" in apis:
        rows += _inference(headers)
        if open_inference:
            rows += _open_inference(oip.SERVICE, regions)
            rows += _open_inference(oip.TORCHSERVE_SERVICE, regions)
            rows += shared_memory.methods(regions)
    if "management" in apis:
        rows += [_answered(management.SERVICE, name, call, "management") for name, call in management.METHODS.items()]
    if open_inference and (commands or "management" in apis):
        rows += [_answered(oip.SERVICE, name, call, "management") for name, call in oip.COMMANDS.items()]
    own = sorted({row.service for row in rows})
    rows += _about(tuple(own), "inference" if "inference" in apis else "management")
    return {row.path: row for row in rows}


def _inference(headers: SequenceHeaders) -> list[Method]:
    one, many = TorchServeMessages(headers), SequenceMessages(headers)
    name = inference.SERVICE
    return [
        _answered(name, "Ping", inference.ping, "inference", "open"),
        Method(name, "Predictions", "inference", partial(PredictOne, codec=one), "inference", codec=one),
        Method(name, "StreamPredictions", "inference", partial(PredictOne, codec=one, streams=True), "inference"),
        Method(name, "StreamPredictions2", "inference", partial(PredictMany, codec=many), "inference", streams_in=True),
    ]


def _open_inference(name: str, regions: Regions | None) -> list[Method]:
    one, many = OipMessages(regions), OipStreamMessages(regions)
    reads = dict(oip.READS)
    reads["ServerMetadata"] = partial(oip.server_metadata, shared_memory=regions is not None)
    if name == oip.TORCHSERVE_SERVICE:
        reads["ModelReady"] = oip.torchserve_model_ready
    return [
        _answered(name, "ServerLive", oip.live, "inference", "open"),
        _answered(name, "ServerReady", oip.ready, "inference", "open"),
        *(_answered(name, method, endpoint, "inference") for method, endpoint in reads.items()),
        Method(name, "ModelInfer", "inference", partial(PredictOne, codec=one), "inference", codec=one),
        Method(name, "ModelStreamInfer", "inference", partial(PredictMany, codec=many), "inference", streams_in=True),
    ]


def _about(own: tuple[str, ...], api: RpcApi) -> list[Method]:
    """Return the standard services, which tell of the others; they need no key, as GET /health/ready needs none."""
    reflections = tuple(map(reflection.service_of, reflection.PACKAGES))
    told = health.Health(frozenset((*own, health.SERVICE, *reflections)))
    services = (*own, health.SERVICE, *reflections)

    def watch(call: OpenCall) -> Exchange:
        return health.Watch(call, told)

    rows = [
        _answered(health.SERVICE, "Check", told.check, api, "open"),
        Method(health.SERVICE, "Watch", api, watch, "open"),
    ]
    for package in reflection.PACKAGES:
        opened = partial(reflection.Reflection, package=package, services=services)
        name = reflection.service_of(package)
        rows.append(Method(name, "ServerReflectionInfo", api, opened, "open", streams_in=True))
    return rows


def _answered(name: str, method: str, endpoint: Endpoint, api: RpcApi, scope: Scope | None = None) -> Method:
    """Return the row of a method that `endpoint` answers."""
    request = message(service(name).methods_by_name[method].input_type.full_name)
    return Method(name, method, api, partial(Answering, endpoint=endpoint, request=request), scope or api)
