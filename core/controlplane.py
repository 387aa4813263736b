"""ControlPlane: registering, scaling, describing and removing models. What management's front doors call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .archive.reader import Archive, open_archive
from .archive.store import Located, default_name, locate
from .config.configured_models import ConfiguredModel
from .config.model_options import ModelOptions, Requested, resolve_options
from .config.settings import Settings
from .describe import describe_customized, describe_model
from .errors import BadRequest, InvalidArchive, ServeError, WorkersFailed
from .metrics.store import MetricStore
from .models.model import Model
from .models.numbers import WorkerNumbers
from .models.registry import Registry
from .workers.gpus import GpuSeats

log = logging.getLogger(__name__)

RUNTIMES = ("python", "python3", "LSP")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterRequest:
    """A registration; None leaves a value to the archive and the settings. Delay in ms, timeouts in s."""

    url: str
    model_name: str | None = None
    handler: str | None = None
    runtime: str | None = None
    batch_size: int | None = None
    max_batch_delay: int | None = None
    initial_workers: int | None = None
    synchronous: bool = True
    response_timeout: int | None = None
    startup_timeout: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What management answers; not `done` means that the work goes on after the answer."""

    message: str
    done: bool = True


class ControlPlane:
    """All methods raise ServeErrors. `begin_drain` makes the server unhealthy for good."""

    def __init__(
        self, settings: Settings, registry: Registry, metrics: MetricStore, seats: GpuSeats, work: Path
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._metrics = metrics
        self._seats = seats
        self._work = work
        self._numbers = WorkerNumbers(settings.initial_worker_port)
        self._background: set[asyncio.Task[None]] = set()
        self._draining = False

    # ---- health

    def healthy(self) -> bool:
        """Whether no model's default version has lost its workers for good, and no drain has begun."""
        return not self._draining and not any(model.failed for model in self._registry.defaults())

    def missing(self) -> list[str]:
        """Why the server should get no traffic yet, or no more; empty when it should."""
        lacking = [model.lacking for model in self._registry if model.at_startup and model.lacking]
        return ["The server is stopping.", *lacking] if self._draining else lacking

    def ready(self, name: str) -> bool:
        """Whether the default version of a model has its workers, and at least one. Raises ModelNotFound."""
        model = self._registry.get(name)
        return model.pool.ready > 0 and not model.lacking

    def version_of(self, name: str, version: str | None = None) -> str:
        """The version asked for, or the default one. Raises ModelNotFound, VersionNotFound."""
        return self._registry.get(name, version).version

    def model_names(self) -> list[str]:
        return [model.name for model in self._registry.defaults()]

    def begin_drain(self) -> None:
        self._draining = True

    async def close(self, grace: float) -> None:
        """Serve what has been accepted for at most `grace` seconds, end all workers, remove what was unpacked."""
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*(self._dispose(model, grace) for model in self._registry))

    # ---- registration

    async def register(self, request: RegisterRequest) -> Outcome:
        """Register a model version; waits for its workers if `synchronous`. Nothing stays behind on failure."""
        if request.runtime is not None and request.runtime not in RUNTIMES:
            raise BadRequest(f"Invalid RuntimeType value: {request.runtime}")
        model = await self._prepare(request, at_startup=False)
        count = model.options.min_workers
        label = f'Model "{model.name}" Version: {model.version} registered with {count} initial workers'
        if count == 0:
            return Outcome(f"{label}. Use scale workers API to add workers for the model.")
        if not request.synchronous:
            self._in_background(self._start_or_remove(model))
            return Outcome("Processing worker updates...", done=False)
        await self._start_or_remove(model)
        return Outcome(label)

    async def load_at_startup(self, url: str, name: str | None, workers: int) -> None:
        """Register a model and begin to start its workers; those that fail are tried again with back-off.

        Raises ServeError when the archive can't be had or used.
        """
        request = RegisterRequest(url=url, model_name=name, initial_workers=workers)
        model = await self._prepare(request, at_startup=True)
        count = model.options.min_workers
        log.info("Model %s version %s from %s: starting %d workers", model.name, model.version, url, count)
        self._in_background(self._start(model))

    async def _prepare(self, request: RegisterRequest, *, at_startup: bool) -> Model:
        """Find, unpack and register the archive; the model then has no workers yet."""
        located = await asyncio.to_thread(locate, request.url, self._settings.model_store, self._settings.allowed_urls)
        archive: Archive | None = None
        try:
            archive = await asyncio.to_thread(open_archive, located.path, self._work)
            return self._admit(request, located, archive, at_startup)
        except BaseException:
            if archive is not None:
                await asyncio.to_thread(archive.remove)
            if located.downloaded:
                located.path.unlink(missing_ok=True)
            raise

    def _admit(self, request: RegisterRequest, located: Located, archive: Archive, at_startup: bool) -> Model:
        name = _model_name(request, archive, located.path, at_startup)
        version = archive.manifest.model_version
        self._registry.claim(name, version)
        try:
            configured = self._settings.models.find(name, version) if self._settings.models else ConfiguredModel()
            options = _options(request, archive, self._settings, configured)
            model = Model(
                name=name,
                version=version,
                url=request.url,
                archive=archive,
                handler=_handler(request, archive, self._settings, name),
                options=options,
                settings=self._settings,
                seats=self._seats,
                numbers=self._numbers,
                metrics=self._metrics,
                downloaded=located.path if located.downloaded else None,
                at_startup=at_startup,
            )
            self._registry.add(model)
            if at_startup and configured.default:
                self._registry.set_default(name, version)
        finally:
            self._registry.release(name, version)
        return model

    async def _start(self, model: Model) -> None:
        await self._scale(model, model.options.min_workers, model.options.max_workers)

    async def _start_or_remove(self, model: Model) -> None:
        try:
            await self._start(model)
        except BaseException:
            self._registry.discard(model)
            await asyncio.shield(self._dispose(model, 0.0))
            raise

    # ---- the life of a registered model

    async def scale(
        self, name: str, version: str | None, *, minimum: int = 1, maximum: int | None = None, synchronous: bool = False
    ) -> Outcome:
        """Bring the number of workers into minimum…maximum; maximum defaults to minimum."""
        model = self._registry.get(name, version)
        if minimum < 0:
            raise WorkersFailed(
                f"min_worker must be 0 or more, not {minimum}; the workers of model {name} stay as they are."
            )
        if maximum is None:
            maximum = minimum
        if maximum < minimum:
            raise BadRequest("max_worker cannot be less than min_worker.")
        if not synchronous:
            self._in_background(self._scale(model, minimum, maximum))
            return Outcome("Processing worker updates...", done=False)
        await self._scale(model, minimum, maximum)
        suffix = f", version: {version}" if version else ""
        return Outcome(f"Workers scaled to {len(model.pool.slots)} for model: {name}{suffix}")

    async def _scale(self, model: Model, minimum: int, maximum: int) -> None:
        try:
            await model.pool.scale(minimum, maximum)
        except WorkersFailed as error:
            text = f"Failed to start workers for model {model.name} version: {model.version}. {error}"
            raise WorkersFailed(text, out_of_memory=error.out_of_memory) from error

    async def unregister(self, name: str, version: str | None) -> Outcome:
        """Remove a version. What it has accepted is served first, within unregister_model_timeout."""
        model = self._registry.remove(name, version)
        await self._dispose(model, self._settings.unregister_model_timeout)
        return Outcome(f'Model "{name}" unregistered')

    def set_default(self, name: str, version: str) -> Outcome:
        self._registry.set_default(name, version)
        return Outcome(f'Default version successfully updated for model "{name}" to "{version}"')

    async def _dispose(self, model: Model, grace: float) -> None:
        await model.drain(grace)
        self._registry.discard(model)
        self._metrics.forget(model.metrics)
        await asyncio.to_thread(model.archive.remove)
        if model.downloaded is not None:
            model.downloaded.unlink(missing_ok=True)

    # ---- what there is

    async def describe(self, name: str, version: str | None, *, customized: bool = False) -> list[dict[str, Any]]:
        """One entry per version asked for: the default one, a named one, or `all`."""
        models = self._registry.versions(name) if version == "all" else [self._registry.get(name, version)]
        entries = [describe_model(model) for model in models]
        if customized and version != "all":
            entries[0]["customizedMetadata"] = await describe_customized(models[0])
        return entries

    def list_models(self, limit: int, offset: int) -> dict[str, Any]:
        """A page of the default versions, by name; nextPageToken is there when more follow."""
        models = self._registry.defaults()
        end = offset + limit
        page: dict[str, Any] = {"nextPageToken": str(end)} if end < len(models) else {}
        page["models"] = [{"modelName": model.name, "modelUrl": model.url} for model in models[offset:end]]
        return page

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_logged(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    """For work that nobody waits for: its failure is for the log."""
    try:
        await work
    except ServeError as error:
        log.error("%s", error)
    except Exception:
        log.exception("Management work failed")


def _options(
    request: RegisterRequest, archive: Archive, settings: Settings, configured: ConfiguredModel
) -> ModelOptions:
    initial = request.initial_workers
    asked = Requested(
        batch_size=request.batch_size,
        max_batch_delay=request.max_batch_delay,
        initial_workers=settings.default_workers_per_model if initial is None else initial,
        response_timeout=request.response_timeout,
        startup_timeout=request.startup_timeout,
    )
    return resolve_options(archive.config or {}, asked, settings, configured)


def _handler(request: RegisterRequest, archive: Archive, settings: Settings, name: str) -> str:
    handler = request.handler or archive.manifest.handler or settings.default_service_handler
    if not handler:
        raise InvalidArchive(f"Model {name} names no handler: neither its manifest nor the registration does.")
    return handler


def _model_name(request: RegisterRequest, archive: Archive, path: Path, at_startup: bool) -> str:
    name = request.model_name or archive.manifest.model_name
    if name:
        return name
    if at_startup:
        return default_name(path)
    raise InvalidArchive(f"Model name is not defined. {path.name} has no manifest; give model_name.")
