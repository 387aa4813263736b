"""The composition root: makes the ModelServer and the Front from the settings, and runs them until a signal."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from ..core.config.address import Address
from ..core.config.configuration import Configuration
from ..core.config.dump import dump
from ..core.config.exposure import exposure
from ..core.config.settings import Settings
from ..core.errors import ServeError
from ..core.logs.config import LogConfig
from ..core.logs.install import open_logs
from ..core.logs.plan import LogPlan, default_plan
from ..core.logs.writer import LogWriter
from ..core.models.snapshot_folder import SnapshotFolder
from ..core.server import ModelServer
from ..http.auth import TokenAuth
from ..http.cors import Cors
from ..http.front import Front
from ..http.front_config import FrontConfig
from ..http.message.limits import Limits
from ..http.routing.route import Api
from ..http.site_policy import Hosts
from ..http.transport.cert_reload import CertReload
from ..http.transport.tls import Identity, server_context
from .background import Reporter
from .descriptors import raise_limit
from .environment import describe_environment
from .own_names import own_names
from .pidfile import PidFile
from .runtime_file import remove_runtime_file, write_runtime_file

log = logging.getLogger(__name__)

Companion = Callable[[ModelServer], Coroutine[Any, Any, None]]

_APIS: tuple[Api, ...] = ("inference", "management", "metrics")
DRAIN = 25.0  # seconds that accepted requests may take after a stop signal; Kubernetes and SageMaker kill after 30


def run(
    configuration: Configuration,
    snapshots: SnapshotFolder | None,
    log_config: LogConfig | None,
    reporter: Reporter,
    companion: Companion | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, and run the coroutine that `companion` makes meanwhile.

    Raises ServeError, with a message of one line, if the start fails.
    """
    pid_file = PidFile()
    logs = open_logs(_log_plan(configuration.settings, log_config, reporter))
    token_auth: TokenAuth | None = None
    try:
        if log_config is not None:
            log_config.apply()
        configuration.tell()
        raise_limit()
        token_auth = _token_auth(configuration.settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(configuration, snapshots, token_auth, logs, reporter, companion))
    except ServeError as error:
        log.error("%s", error)
        reporter.failed(str(error))
        raise
    finally:
        if token_auth is not None:
            token_auth.close()
        logs.close()
        remove_runtime_file()
        pid_file.remove()


async def _serve(
    configuration: Configuration,
    snapshots: SnapshotFolder | None,
    token_auth: TokenAuth | None,
    logs: LogWriter,
    reporter: Reporter,
    companion: Companion | None,
) -> None:
    settings = configuration.settings
    stopping = asyncio.Event()
    server = ModelServer(settings, logs.stream, snapshots, configuration.kept())
    server.metrics.read("torchserve_log_lines_lost_total", ("write_failed",), lambda: logs.lost)
    server.metrics.read("torchserve_log_lines_lost_total", ("backlog",), lambda: logs.dropped)
    _on_signals(stopping, server, token_auth)
    identity = _identity(settings)
    tls = server_context(identity) if any(each.tls for each in _addresses(settings)) else None
    renewing = asyncio.create_task(CertReload(tls, identity).run()) if tls is not None else None
    front = _front(settings, server, logs, token_auth, tls, await _hosts(settings))
    try:
        log.info(
            dump(settings, describe_environment(configuration.path, await server.gpus()))
        )  # its line breaks are ours
        await server.start()
        await front.start()
        await server.started()
        _announce(front, reporter, token_auth, server.controlplane.left_out())
        _settle_memory()
        companion_task = asyncio.create_task(companion(server)) if companion is not None else None
        await stopping.wait()
        if companion_task is not None:
            companion_task.cancel()
        log.info("Stopping: accepted requests are finished first")
        server.controlplane.begin_drain()
        if settings.drain_delay:
            log.info("Accepting connections for another %d s (drain_delay)", settings.drain_delay)
            await asyncio.sleep(settings.drain_delay)
        await front.drain(DRAIN)
    finally:
        if renewing is not None:
            renewing.cancel()
        await front.stop()
        await server.stop(grace=2.0)
    log.info("Torchserve stopped.")


def _token_auth(settings: Settings) -> TokenAuth | None:
    if not settings.tokens:
        if text := exposure(settings):
            log.warning("%s", text)
        return None
    challenge = settings.token_error_status == 401
    token_auth = TokenAuth.set_up(settings.token_expiration_min * 60, Path(), challenge=challenge)
    log.warning(
        "\n######\n"
        "Token authorization is on: a call needs the header Authorization: Bearer <key>; health checks and metrics"
        " don't.\n"
        "The keys are in %s\n"
        "The inference and the management key expire after %g minutes; GET /token?type=... with the API key makes new"
        " ones.\n"
        "######",
        token_auth.path, settings.token_expiration_min,
    )  # fmt: skip
    return token_auth


def _log_plan(settings: Settings, log_config: LogConfig | None, reporter: Reporter) -> LogPlan:
    if log_config is None or log_config.plan is None:
        return default_plan(console=reporter.console, as_json=settings.log_format == "json")
    return log_config.plan if reporter.console else log_config.plan.without_console()


def _addresses(settings: Settings) -> tuple[Address, Address, Address]:
    return settings.inference_address, settings.management_address, settings.metrics_address


def _front(
    settings: Settings,
    server: ModelServer,
    logs: LogWriter,
    token_auth: TokenAuth | None,
    tls: ssl.SSLContext | None,
    hosts: Hosts,
) -> Front:
    listen: dict[Api, Address] = dict(zip(_APIS, _addresses(settings), strict=True))
    if not settings.enable_metrics_api:
        del listen["metrics"]
    config = FrontConfig(
        listen,
        Limits(max_request_size=settings.max_request_size, max_unsent_total=settings.max_unsent_bytes),
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
    )
    return Front(
        config,
        dataplane=server.dataplane,
        controlplane=server.controlplane,
        metrics=server.metrics,
        access=logs.access,
    )


async def _hosts(settings: Settings) -> Hosts:
    """Return the hosts by which requests may call this server."""
    bound = {each.host.lower() for each in _addresses(settings) if each.host}
    return Hosts(await own_names() | bound, settings.allowed_hosts)


def _identity(settings: Settings) -> Identity:
    return Identity(
        settings.certificate_file,
        settings.private_key_file,
        settings.keystore,
        settings.keystore_pass,
        settings.keystore_type,
    )


def _announce(front: Front, reporter: Reporter, token_auth: TokenAuth | None, lacking: list[str]) -> None:
    bound = {api: str(front.bound[api]) for api in _APIS if api in front.bound}
    try:
        write_runtime_file(bound, token_auth.path if token_auth is not None else None)
    except OSError as error:
        log.warning("torchserve models and top need --management to find this server: %s", error)
    # Scripts and TorchServe's own tests wait for exactly this line.
    log.info("Model server started.")
    reporter.ready(bound, lacking)


def _on_signals(stopping: asyncio.Event, server: ModelServer, token_auth: TokenAuth | None) -> None:
    def stop() -> None:
        if stopping.is_set():
            log.warning("Second signal: ending at once")
            server.abandon()
            if token_auth is not None:
                token_auth.close()
            os._exit(1)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)


def _settle_memory() -> None:
    """Exclude all objects that exist after the start from garbage collection: they live as long as the process."""
    gc.collect()
    gc.freeze()
