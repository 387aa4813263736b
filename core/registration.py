"""Registration: makes a Model, without workers yet, from a registration or from a snapshot's entry."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from .archive.content_hash import content_hash
from .archive.download_progress import DownloadProgress
from .archive.downloads import Downloads
from .archive.handler_source import ASYNCHRONOUS, ENGINES, built_in_name
from .archive.packages import ModelPython, Packages, default_folder
from .archive.reader import Archive, open_archive
from .archive.store import Located, default_name
from .config.configured_models import ConfiguredModel
from .config.model_options import ModelOptions, Requested, check_workers, resolve_options
from .config.saved_models import SavedModel
from .config.settings import Settings
from .errors import BadRequest, InvalidArchive, InvalidConfig
from .gpus.gpu_allocator import GpuAllocator
from .metrics.store import MetricStore
from .model_name import check_name, check_version
from .models.answer_store import AnswerStore
from .models.engine_yaml import engine_gpus, engine_names
from .models.model import Model
from .models.model_spec import ModelSpec, SharedParts
from .models.registry import Registry
from .models.worker_ids import WorkerIds
from .payload_log.writer import PayloadWriter
from .workers.call_plane import CallPlane
from .workers.early_fork_server import take
from .workers.fork_server import ForkServer
from .workers.remote.remote_workers import remote_workers
from .workers.worker_environment import visible

log = logging.getLogger(__name__)

RUNTIMES = ("python", "python3", "LSP")


@dataclass(frozen=True, slots=True)
class NodeOf:
    """A node of a workflow, whose workers the workflow's spec says. Its model is in no snapshot.

    The model of a `function` is the workflow's own folder, so that it has no url. Others follow an `inner` node.
    """

    workflow: str
    min_workers: int
    max_workers: int
    function: bool = False
    inner: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterRequest:
    """A request to register a model; None leaves a value to the archive and the settings. Delay in ms, others in s."""

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
    s3_sse_kms: bool = False
    node: NodeOf | None = None


@dataclass(frozen=True, slots=True)
class _Opened:
    """An archive that has been opened, the name that it is registered under, and its installed packages."""

    name: str
    located: Located
    archive: Archive
    python: ModelPython
    content: bytes


class Registration:
    """A maker of registered models. Its methods raise ServeErrors, and leave nothing behind then."""

    def __init__(
        self, settings: Settings, registry: Registry, metrics: MetricStore, gpu_allocator: GpuAllocator, work: Path
    ) -> None:
        self._settings = settings
        self._registry = registry
        remote = remote_workers(settings)
        forks = None
        if settings.fork_workers and remote is None:
            forks = ForkServer(settings.python or sys.executable, take())
        ids = WorkerIds(settings.initial_worker_port)
        self._parts = SharedParts(settings, gpu_allocator, ids, metrics, remote, forks, store=_answer_store(settings))
        self._work = work
        self._downloads = Downloads(settings.model_store, settings.allowed_urls)
        self._packages = Packages(
            settings.package_folder or default_folder(),
            settings.python,
            visible(os.environ, settings.blacklist_env_vars),
            install=settings.install_py_dep_per_model,
        )
        self._removals: set[asyncio.Task[None]] = set()

    def connect(self, calls: CallPlane, payloads: PayloadWriter | None) -> None:
        """Have `calls` take what the handlers of models ask of other models, and `payloads` what is sampled, from the
        next registration on.
        """
        self._parts = replace(self._parts, calls=calls, payloads=payloads)

    async def admit(self, request: RegisterRequest, *, at_startup: bool = False) -> Model:
        """Find, unpack and register the archive. With `at_startup`, a file of the store may stand in for a download."""
        if request.runtime is not None and request.runtime not in RUNTIMES:
            raise BadRequest(f"Invalid RuntimeType value: {request.runtime}")
        if request.model_name:
            check_name(request.model_name)  # before anything is downloaded
        located = await self._downloads.locate(request.url, signed=request.s3_sse_kms, reuse=at_startup)
        try:
            return await self._open(request, located, at_startup=at_startup)
        except BaseException:
            if located.downloaded:
                await asyncio.shield(self._downloads.release(located.path))
            raise

    async def restore(self, saved: SavedModel) -> Model:
        """Register a version with the source, options and workers that a snapshot holds."""
        located = await self._downloads.locate(saved.archive)
        in_store = self._settings.model_store is not None and located.path.parent == self._settings.model_store
        located = replace(located, url=saved.url or located.url, downloaded=saved.downloaded and in_store)
        request = RegisterRequest(
            url=saved.archive, model_name=saved.name, handler=saved.handler, runtime=saved.runtime
        )
        model = await self._open(request, located, at_startup=True, saved=saved)
        if model.downloaded is not None:
            self._downloads.adopt(model.downloaded)
        return model

    def downloads(self) -> list[DownloadProgress]:
        """Return the progress of each download that is under way."""
        return self._downloads.on_the_way()

    async def close(self) -> None:
        """End the engine's side of workers on other hosts, the fork server and the store. No worker may be left."""
        if self._parts.store is not None:
            await self._parts.store.close()
        if self._parts.fork_server is not None:
            await self._parts.fork_server.close()
        if self._parts.remote is not None:
            await self._parts.remote.close()

    async def release(self, model: Model) -> None:
        """Delete the downloaded archive of a removed model, unless other models use it."""
        if self._parts.remote is not None:
            self._parts.remote.forget(model.archive.model_dir)
        if model.downloaded is not None:
            await self._downloads.release(model.downloaded)

    async def _open(
        self, request: RegisterRequest, located: Located, *, at_startup: bool, saved: SavedModel | None = None
    ) -> Model:
        opening = asyncio.create_task(
            asyncio.to_thread(open_archive, located.path, self._work, signers=self._settings.required_signers)
        )
        try:
            archive = await asyncio.shield(opening)
        except asyncio.CancelledError:  # the thread goes on unpacking: delete its result then
            opening.add_done_callback(self._remove_opened)
            raise
        try:
            name = check_name(_model_name(request, archive, located.path, at_startup))
            check_version(archive.manifest.model_version)
            use_venv = (archive.config or {}).get("useVenv") is True
            python = await self._packages.prepare(archive, name, use_venv=use_venv)
            content = b""
            shares = self._parts.store is not None and (archive.config or {}).get("cache")
            if shares and archive.unpacked is not None:  # the files of a user's folder may change behind it
                content = await asyncio.to_thread(content_hash, archive.model_dir)
            opened = _Opened(name, located, archive, python, content)
            return self._register(request, opened, saved, at_startup=at_startup)
        except BaseException:
            await asyncio.to_thread(archive.remove)
            raise

    def _remove_opened(self, opening: asyncio.Task[Archive]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            removal = asyncio.create_task(asyncio.to_thread(opening.result().remove))
            self._removals.add(removal)
            removal.add_done_callback(self._removals.discard)

    def _register(
        self, request: RegisterRequest, opened: _Opened, saved: SavedModel | None, *, at_startup: bool
    ) -> Model:
        name, archive = opened.name, opened.archive
        version = archive.manifest.model_version
        configured = self._settings.models.find(name, version) if self._settings.models else ConfiguredModel()
        if not at_startup:  # as in TorchServe, `models` gives no workers to what is registered over the API
            configured = replace(configured, min_workers=None, max_workers=None)
        try:
            options = _options(request, archive, self._settings, configured)
            if saved is not None:
                options = _as_saved(options, saved, self._settings)
        except BadRequest as error:
            raise BadRequest(f"Model {name} version {version}: {error.message}") from None
        node, located = request.node, opened.located
        if node is not None:
            options = replace(options, min_workers=node.min_workers, max_workers=node.max_workers)
            located = replace(located, url="") if node.function else located
        handler = _handler(request, archive, self._settings, name)
        if built_in_name(handler) in ENGINES:
            options = replace(options, parallel=engine_gpus(archive.config or {}, options.parallel))
        if built_in_name(handler) in ASYNCHRONOUS and not (options.parallel and options.parallel.ranks):
            options = replace(options, asynchronous=True, isolate_errors=False)
            # Engines behind a handler of their own don't tell of each request's tokens.
            options = replace(options, generates=options.generates or built_in_name(handler) == "language_model")
        self._registry.claim(name, version)
        try:
            spec = ModelSpec(
                name=name,
                version=version,
                located=located,
                archive=archive,
                handler=handler,
                chosen_handler=request.handler,
                runtime=request.runtime or archive.manifest.runtime,
                options=options,
                python=opened.python,
                content=opened.content,
                at_startup=at_startup,
                workflow=node.workflow if node is not None else "",
                inner=node is not None and node.inner,
                aliases=engine_names(archive.config or {}) if built_in_name(handler) in ENGINES else (),
            )
            model = Model(spec, self._parts)
            self._registry.add(model)
            if at_startup and saved is None and configured.default:
                self._registry.set_default(name, version)
        finally:
            self._registry.release(name, version)
        return model


def _answer_store(settings: Settings) -> AnswerStore | None:
    """Return the store in which servers share answers, None without one. Raises InvalidConfig."""
    if settings.cache_redis is None:
        return None
    try:
        return AnswerStore(settings.cache_redis, settings.cache_redis_timeout / 1000.0)
    except ImportError:
        raise InvalidConfig("cache_redis needs the package redis: pip install 'torchserve[redis]'") from None
    except ValueError as error:
        raise InvalidConfig(f"cache_redis: {error}") from None


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


def _as_saved(options: ModelOptions, saved: SavedModel, settings: Settings) -> ModelOptions:
    """Return `options` with the values of the snapshot, which take precedence over the archive's."""
    check_workers(settings, ("model_snapshot: minWorkers", saved.min_workers), ("maxWorkers", saved.max_workers))
    minimum = options.min_workers if saved.min_workers is None else saved.min_workers
    maximum = options.max_workers if saved.max_workers is None else saved.max_workers
    kept = {
        name: value
        for name in ("batch_size", "max_batch_delay", "response_timeout", "startup_timeout")
        if (value := getattr(saved, name)) is not None
    }
    return replace(options, min_workers=minimum, max_workers=max(minimum, maximum), **kept)


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
