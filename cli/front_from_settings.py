"""The front as the settings want it: its listeners, limits, protocols, certificate and the hosts it goes by."""

from __future__ import annotations

import ssl
from functools import partial
from math import inf

from ..core.config.address import Address
from ..core.config.settings import Settings
from ..core.logs.writer import LogWriter
from ..core.server import ModelServer
from ..http.auth import TokenAuth
from ..http.cors import Cors
from ..http.front import Front
from ..http.front_config import FrontConfig, RpcListen, RpcMaker, SharedMemory
from ..http.message.limits import Http2Limits, Limits
from ..http.message.sequence_headers import SequenceHeaders
from ..http.routing.route import Api, OpenInference
from ..http.site_policy import Hosts
from ..http.transport.tls import Identity
from .own_names import own_names
from .service_manager import passed_sockets

APIS: tuple[Api, ...] = ("inference", "management", "metrics")
_SHARED_MEMORY: dict[str, SharedMemory] = {"auto": "auto", "true": "all", "false": "off"}


def _addresses(settings: Settings) -> tuple[Address, Address, Address]:
    return settings.inference_address, settings.management_address, settings.metrics_address


def all_addresses(settings: Settings) -> tuple[Address, ...]:
    """Return the addresses of all HTTP listeners."""
    return *settings.inference_addresses, *settings.management_addresses, settings.metrics_address


def make_front(
    settings: Settings,
    server: ModelServer,
    logs: LogWriter,
    token_auth: TokenAuth | None,
    tls: ssl.SSLContext | None,
    hosts: Hosts,
) -> Front:
    """Return the front that serves with `server`, whose listeners are not bound yet."""
    listen: dict[Api, Address] = dict(zip(APIS, _addresses(settings), strict=True))
    if not settings.enable_metrics_api:
        del listen["metrics"]
    config = FrontConfig(
        listen,
        Limits(
            max_request_size=settings.max_request_size,
            max_unsent_total=settings.max_unsent_bytes,
            http2=Http2Limits(max_streams=settings.http2_max_concurrent_streams),
        ),
        decode_input=settings.decode_input_request,
        scheduling_headers=settings.scheduling_headers,
        model_api=settings.model_api,
        token_auth=token_auth,
        cors=Cors(
            settings.cors_allowed_origin or "",
            settings.cors_allowed_methods or "",
            settings.cors_allowed_headers or "",
        ),
        tls=tls,
        hosts=hosts,
        rpc=_rpc(settings),
        rpc_listen=_rpc_listen(settings),
        open_inference=_open_inference(settings),
        shared_memory=_SHARED_MEMORY[settings.open_inference_shared_memory],
        tracer=server.tracing.tracer if server.tracing is not None else None,
        further=settings.further_inference_addresses,
        health_route=settings.health_route,
        predict_route=settings.predict_route,
        passed=tuple(passed_sockets()),
        sequence_headers=_sequence_headers(settings),
    )
    front = Front(
        config,
        dataplane=server.dataplane,
        controlplane=server.controlplane,
        metrics=server.metrics,
        access=logs.access,
        overview=server.overview if settings.enable_dashboard else None,
    )
    front.serve_workflows(server.workflows)
    return front


def _rpc(settings: Settings) -> RpcMaker | None:
    """Return what makes the gRPC side of each listener, if there is to be one."""
    if not settings.enable_grpc:
        return None
    # Imported here: with the protobuf library it takes 40 ms and 5 MB.
    from ..http.rpc.application import RpcApplication

    spoken = settings.ts_open_inference_protocol is not False
    return partial(RpcApplication, headers=_sequence_headers(settings), open_inference=spoken)


def _sequence_headers(settings: Settings) -> SequenceHeaders:
    keys = ("id", "start", "end")
    return SequenceHeaders(**{key: getattr(settings, f"ts_header_key_sequence_{key}") for key in keys})


def _rpc_listen(settings: Settings) -> dict[Api, RpcListen]:
    if not settings.enable_grpc:
        return {}
    return {
        "inference": RpcListen(
            settings.grpc_inference,
            _seconds(settings.grpc_inference_max_connection_age_ms),
            _seconds(settings.grpc_inference_max_connection_age_grace_ms),
        ),
        "management": RpcListen(
            settings.grpc_management,
            _seconds(settings.grpc_management_max_connection_age_ms),
            _seconds(settings.grpc_management_max_connection_age_grace_ms),
        ),
    }


def _seconds(milliseconds: int | None) -> float:
    return inf if milliseconds is None else milliseconds / 1000.0


def _open_inference(settings: Settings) -> OpenInference:
    """Return how the Open Inference Protocol is spoken."""
    if settings.ts_open_inference_protocol is False:
        return "off"
    return "enveloped" if settings.service_envelope else "on"


async def hosts_of(settings: Settings) -> Hosts:
    """Return the hosts by which requests may call this server."""
    bound = {each.host.lower() for each in all_addresses(settings) if each.host}
    return Hosts(await own_names() | bound, settings.allowed_hosts)


def identity_of(settings: Settings) -> Identity:
    """Return the certificate and key to serve TLS with."""
    return Identity(
        settings.certificate_file,
        settings.private_key_file,
        settings.keystore,
        settings.keystore_pass,
        settings.keystore_type,
    )
