"""The composition root: makes the ModelServer and the Front from the settings, and runs them until a signal."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click
import uvloop

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
from ..http.front import Front
from ..http.transport.cert_reload import CertReload
from ..http.transport.tls import server_context
from .background import Reporter
from .bounded_executor import BoundedExecutor
from .descriptors import raise_limit
from .environment import describe_environment
from .front_from_settings import APIS, all_addresses, hosts_of, identity_of, make_front
from .pidfile import PidFile
from .runtime_file import remove_runtime_file, write_runtime_file
from .service_manager import ServiceManager
from .signals import Signals, Wish

log = logging.getLogger(__name__)

Companion = Callable[[ModelServer], Coroutine[Any, Any, None]]

_WAITING = 5.0  # seconds of a drain in which a worker may still come up for the requests that wait for it
_LAST_ANSWERS = 1.0  # seconds to send the refusals of what a drain could not answer


def run(
    configuration: Configuration,
    snapshots: SnapshotFolder | None,
    log_config: LogConfig | None,
    reporter: Reporter,
    companion: Companion | None = None,
) -> None:
    """Serve until a signal says stop, and run the coroutine that `companion` makes meanwhile.

    Raises ServeError, with a message of one line, if the start fails.
    """
    signals = Signals(own_session=reporter.in_background)
    pid_file = PidFile()
    logs = open_logs(_log_plan(configuration.settings, log_config, reporter))
    token_auth: TokenAuth | None = None
    threads = BoundedExecutor()
    failed: ServeError | None = None
    try:
        if log_config is not None:
            log_config.apply()
        configuration.tell()
        raise_limit()
        token_auth = _token_auth(configuration.settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.get_loop().set_default_executor(threads)
            runner.run(_Serving(configuration, snapshots, token_auth, logs, reporter, signals).run(companion))
    except ServeError as error:
        failed = error
        log.error("%s", error)
        reporter.failed(str(error))
        raise
    finally:
        if token_auth is not None:
            token_auth.close()
        logs.close()
        remove_runtime_file()
        pid_file.remove()
        signals.close()
        if threads.stuck:
            _leave(failed)


def _leave(failed: ServeError | None) -> None:
    """End the process at once, since the interpreter would wait for threads that work on what nobody wants."""
    if failed is not None:
        click.echo(str(failed), err=True)
    sys.stdout.flush()
    os._exit(0 if failed is None else 1)


class _Serving:
    """A server from its start to its end, as signals want it."""

    def __init__(
        self,
        configuration: Configuration,
        snapshots: SnapshotFolder | None,
        token_auth: TokenAuth | None,
        logs: LogWriter,
        reporter: Reporter,
        signals: Signals,
    ) -> None:
        self._configuration = configuration
        self._settings = configuration.settings
        self._snapshots = snapshots
        self._token_auth = token_auth
        self._logs = logs
        self._reporter = reporter
        self._signals = signals
        self._stopping = asyncio.Event()
        self._manager = ServiceManager()

    async def run(self, companion: Companion | None) -> None:
        """Serve until a signal says stop."""
        settings, logs = self._settings, self._logs
        server = ModelServer(settings, logs.stream, self._snapshots, self._configuration.kept())
        server.overview.log, server.overview.settings = logs.tail, self._configuration.shown
        server.metrics.read("torchserve_log_lines_lost_total", ("write_failed",), lambda: logs.lost)
        server.metrics.read("torchserve_log_lines_lost_total", ("backlog",), lambda: logs.dropped)
        self._signals.listen(lambda number, wish: self._heard(number, wish, server))
        identity = identity_of(settings)
        tls = server_context(identity) if any(each.tls for each in all_addresses(settings)) else None
        renewing = asyncio.create_task(CertReload(tls, identity).run()) if tls is not None else None
        front = make_front(settings, server, logs, self._token_auth, tls, await hosts_of(settings))
        living = asyncio.create_task(self._manager.live(lambda: self._state(server)))
        try:
            if await self._unless_stopped(self._start(server, front)):
                await self._serve(server, companion)
                await self._drain(server, front)
        finally:
            living.cancel()
            if renewing is not None:
                renewing.cancel()
            await front.stop()
            await server.stop(grace=2.0)
            self._signals.deafen()
        log.info("Torchserve stopped.")

    async def _start(self, server: ModelServer, front: Front) -> None:
        environment = describe_environment(self._configuration.path, await server.gpus())
        log.info(dump(self._settings, environment))  # its line breaks are ours
        await server.start()
        await front.start()
        await server.started()
        _announce(front, self._reporter, self._token_auth, server.controlplane.left_out())
        _settle_memory()
        self._manager.ready(self._state(server))

    def _state(self, server: ModelServer) -> str:
        """Return a line for the service manager."""
        if self._stopping.is_set():
            return "Answering what was accepted"
        missing = server.controlplane.missing()
        return f"Not ready: {missing[0]}" if missing else f"Serving {len(server.controlplane.model_names())} models"

    async def _unless_stopped(self, start: Coroutine[Any, Any, None]) -> bool:
        """Run the start, and return whether it was completed; a stop cancels it. Raises what the start raises."""
        starting, stopped = asyncio.create_task(start), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                log.warning("Stopping before the start was complete")
                self._reporter.failed("it was stopped before it had started")
                starting.cancel()
                await asyncio.wait({starting})
                return False
            await starting
            return True
        finally:
            stopped.cancel()

    async def _serve(self, server: ModelServer, companion: Companion | None) -> None:
        companion_task = asyncio.create_task(companion(server)) if companion is not None else None
        await self._stopping.wait()
        if companion_task is not None:
            companion_task.cancel()

    async def _drain(self, server: ModelServer, front: Front) -> None:
        """Answer what was accepted, in time and with a refusal if it can't be served."""
        settings = self._settings
        log.info("Stopping: accepted requests are finished first")
        self._manager.stopping(self._state(server))
        server.controlplane.begin_drain()
        if settings.drain_delay:
            log.info("Accepting connections for another %d s (drain_delay)", settings.drain_delay)
            await asyncio.sleep(settings.drain_delay)
        refusing = asyncio.create_task(_refuse_waiting(server, min(_WAITING, settings.drain_timeout / 2)))
        if not await front.drain(settings.drain_timeout):
            await server.controlplane.refuse_waiting(running=True)
            await front.drain(_LAST_ANSWERS)
        refusing.cancel()

    def _heard(self, number: int, wish: Wish, server: ModelServer) -> None:
        name = signal.Signals(number).name
        if wish is Wish.STOP:
            log.info("%s: stopping", name)
            self._stopping.set()
        elif wish is Wish.REOPEN:
            log.info("%s: the log files are opened anew", name)
            self._manager.reload(self._logs.reopen)
        elif wish is Wish.END:
            log.warning("Second signal: ending at once")
            server.abandon()
            if self._token_auth is not None:
                self._token_auth.close()
            self._logs.close()
            os._exit(1)
        else:
            log.warning("%s: %s", name, "already stopping" if self._stopping.is_set() else "nothing is done")


async def _refuse_waiting(server: ModelServer, after: float) -> None:
    await asyncio.sleep(after)
    await server.controlplane.refuse_waiting(running=False)


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


def _announce(front: Front, reporter: Reporter, token_auth: TokenAuth | None, lacking: list[str]) -> None:
    bound = {str(api): str(front.bound[api]) for api in APIS if api in front.bound}
    bound |= {f"grpc_{api}": str(address) for api, address in front.rpc_bound.items()}
    try:
        write_runtime_file(bound, token_auth.path if token_auth is not None else None)
    except OSError as error:
        log.warning("torchserve models and top need --management to find this server: %s", error)
    # Scripts and TorchServe's own tests wait for exactly this line.
    log.info("Model server started.")
    reporter.ready(bound, lacking)


# New objects, beyond those that have gone, that the youngest generation holds: Python's own 700 is no more than what
# requests note within a second, which goes by itself. Each collection of all objects looks at those of all models and
# connections: among 1,000 and 10,000 of them, it took up to 0.3 s, in which nobody was answered.
_YOUNG = 10_000


def _settle_memory() -> None:
    """Exclude all objects that exist after the start from garbage collection, as they live as long as the process, and
    collect the garbage of others less often: a request leaves none.
    """
    gc.collect()
    gc.freeze()
    _, *older = gc.get_threshold()
    gc.set_threshold(_YOUNG, *older)
