"""ControlPlane: registers, scales, describes and removes models, for the front doors of management."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .background import hold, log_failure
from .config.model_options import check_workers
from .config.saved_models import SavedModel, SavedModels
from .config.settings import Settings
from .describe import describe_customized, describe_model, list_page
from .errors import AlreadyRegistered, BadRequest, Draining, ModelNotFound, NotFound, ServeError, WorkersFailed
from .gpus.gpu_allocator import GpuAllocator
from .metrics.store import MetricStore
from .models.left_out import LeftOut
from .models.model import Model
from .models.registry import Registry
from .profiles import Profiles
from .registration import RegisterRequest, Registration
from .removals import Removals
from .repository import Repository
from .traffic_control import TrafficControl

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer of a management call. Unless `done`, the work goes on after the answer."""

    message: str
    done: bool = True


async def _nothing() -> None:
    pass


class ControlPlane:
    """The management of models. All its methods raise ServeErrors.

    `changed` is awaited after each change that succeeded, before the call returns. After `begin_drain` the server is
    unhealthy for good.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        metrics: MetricStore,
        gpu_allocator: GpuAllocator,
        work: Path,
        changed: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._changed = changed
        self._registration = Registration(settings, registry, metrics, gpu_allocator, work)
        self.connect = self._registration.connect
        self.traffic = TrafficControl(registry, metrics, lambda: self._in_background(self._then_report(_nothing())))
        self._removals = Removals(registry, metrics, self.traffic, self._registration.release)
        self.repository = Repository(settings, registry, self.register, self.unregister)
        self.profiles = Profiles(registry)
        self._left_out = LeftOut()
        self._on_trial: set[Model] = set()  # to be removed again if their workers don't come up
        self._background: set[asyncio.Task[None]] = set()
        self._unbreakable: set[asyncio.Task[None]] = set()
        self._draining = False
        self._closed = False

    # ---- health

    def healthy(self) -> bool:
        """Return whether every default version has workers that serve or may come back, and no drain has begun."""
        return not self._draining and not any(model.failed for model in self._registry.defaults())

    def missing(self) -> list[str]:
        """Return the reasons why the server should get no traffic yet, or no more; empty if it should."""
        lacking = [*self._registry.lacking(self._settings.ready_queue_limit), *self._left_out]
        return ["The server is stopping.", *lacking] if self._draining else lacking

    def ready(self, name: str, version: str | None = None) -> bool:
        """Return whether a version, or the default one, has its workers, and at least one.

        Raises ModelNotFound, VersionNotFound.
        """
        try:
            return self._registry.get(name, version).ready
        except ModelNotFound as error:
            raise self._left_out.explained(error, name) from None

    def registered_at(self, name: str) -> float:
        """Return when the default version of a model was registered, in Unix time. Raises ModelNotFound."""
        return self._registry.get(name).registered_at

    def version_of(self, name: str, version: str | None = None) -> str:
        """Return the version asked for, or the default one. Raises ModelNotFound, VersionNotFound."""
        return self._registry.get(name, version).version

    def model_names(self) -> list[str]:
        return [model.name for model in self._registry.defaults()]

    def begin_drain(self) -> None:
        self._draining = True

    async def refuse_waiting(self, *, running: bool) -> None:
        """Answer, in a drain, what waits for models that no worker serves; with `running`, whatever is unanswered."""
        await asyncio.gather(
            *(model.give_up(running=running) for model in self._registry if running or not model.pool.ready)
        )

    async def close(self, grace: float, *, keep_downloads: bool = False) -> None:
        """Serve the accepted requests for at most `grace` seconds, end all workers, and remove what was unpacked."""
        self._closed = True
        for task in list(self._background):
            task.cancel()
        models = dict.fromkeys([*self._registry, *self._removals])
        await asyncio.gather(*(self._removals.dispose(model, grace, keep_download=keep_downloads) for model in models))
        await self._registration.close()

    # ---- registration

    async def register(self, request: RegisterRequest) -> Outcome:
        """Register a model version; if `synchronous`, wait for its workers. Nothing is left behind on failure."""
        model = await self._registration.admit(request)
        if self._closed:
            await self._removals.dispose(model, 0.0)
            raise Draining("The server is stopping and registers no model any more.")
        self._left_out.registered(request.url, model.name)
        count = model.options.min_workers
        label = f'Model "{model.name}" Version: {model.version} registered with {count} initial workers'
        if count == 0:
            await self._changed()
            return Outcome(f"{label}. Use scale workers API to add workers for the model.")
        if not request.synchronous:
            self._in_background(self._then_report(self._start(model), also_failed=True))
            return Outcome("Processing worker updates...", done=False)
        await self._then_report(self._start(model, or_remove=True))
        return Outcome(label)

    async def load_at_startup(self, url: str, name: str | None, workers: int) -> Model:
        """Register a model and begin to start its workers; failed starts are retried with back-off.

        Raises ServeError if the archive can't be fetched or used.
        """
        request = RegisterRequest(url=url, model_name=name, initial_workers=workers)
        model = await self._registration.admit(request, at_startup=True)
        self._begin(model)
        return model

    def leave_out(
        self, url: str, error: Exception, *, name: str | None = None, saved: SavedModel | None = None
    ) -> None:
        """Log and record that an archive could not be loaded at start, as the model `name` if one was chosen.

        The server is not ready until a model of that name, or from the archive, is registered, or the name is
        unregistered. Until then snapshots keep what is `saved`, and a restart tries it again.
        """
        log.error("Failed to load model %s: %s", f"{name} from {url}" if name else url, error)
        self._left_out.add(url, error, name=name, saved=saved)

    def left_out(self) -> list[str]:
        """Return the reasons why models that the start should have loaded are not there."""
        return list(self._left_out)

    def settle_defaults(self, models: Iterable[Model]) -> None:
        """Set the default version of each model in `models`: the configured one, else the first that was named."""
        chosen: dict[str, Model] = {}
        for model in models:
            configured = self._settings.models and self._settings.models.find(model.name, model.version).default
            if configured or model.name not in chosen:
                chosen[model.name] = model
        for model in chosen.values():
            self._registry.set_default(model.name, model.version)

    async def restore(self, models: SavedModels) -> None:
        """Register the models of a snapshot, except for those that are registered already.

        A model that can't be brought back is left out, and kept in further snapshots.
        """
        await asyncio.gather(*(self._restore(models, name) for name in dict.fromkeys(model.name for model in models)))

    async def _restore(self, models: SavedModels, name: str) -> None:
        for saved in models:
            if saved.name == name:
                await self._restore_version(saved)
        for saved in models:
            if saved.name == name and saved.traffic:
                self.traffic.restore(name, saved.traffic)

    async def _restore_version(self, saved: SavedModel) -> None:
        try:
            model = await self._registration.restore(saved)
        except AlreadyRegistered as error:
            log.warning("The model_snapshot is not followed for %s: %s", saved.archive, error)
            return
        except (ServeError, OSError) as error:
            self.leave_out(saved.archive, error, name=saved.name, saved=saved)
            return
        if model.version != saved.version:
            log.warning(
                "%s holds version %s of model %s now; model_snapshot says %s",
                saved.archive, model.version, model.name, saved.version,
            )  # fmt: skip
        if saved.default:
            self._registry.set_default(model.name, model.version)
        self._begin(model)

    def saved(self) -> SavedModels:
        """Return what a restart needs to restore the models, and to try those again that could not be loaded.

        A model whose workers are on trial is not among them, nor is a workflow's, as in TorchServe.
        """
        defaults = {(model.name, model.version) for model in self._registry.defaults()}
        there = [
            self._saved(model, default=(model.name, model.version) in defaults)
            for model in self._registry
            if not (model.workflow or model in self._on_trial)
        ]
        names = {(model.name, model.version) for model in self._registry}
        return SavedModels(
            [*there, *(each for each in self._left_out.saved() if (each.name, each.version) not in names)]
        )

    def _saved(self, model: Model, *, default: bool) -> SavedModel:
        """Return a version's entry in a snapshot: the default version's has the traffic of all versions."""
        saved = model.saved(default=default)
        return replace(saved, traffic=self.traffic.saved(model.name)) if default else saved

    def _begin(self, model: Model) -> None:
        count = model.options.min_workers
        log.info("Model %s version %s from %s: starting %d workers", model.name, model.version, model.url, count)
        self._in_background(self._start(model))

    async def _start(self, model: Model, *, or_remove: bool = False) -> None:
        """Start the workers that the options ask for. With `or_remove`, remove the model if one doesn't come up.

        Raises WorkersFailed; unless the model is removed, what could not be started is tried again with back-off.
        """
        if or_remove:
            self._on_trial.add(model)
        try:
            await self._scale(model, model.options.min_workers, model.options.max_workers)
        except BaseException:
            if or_remove:
                self._registry.discard(model)
                await self._removals.dispose(model, 0.0)
            raise
        finally:
            self._on_trial.discard(model)

    # ---- the life of a registered model

    async def scale(
        self, name: str, version: str | None, *, minimum: int = 1, maximum: int | None = None, synchronous: bool = False
    ) -> Outcome:
        """Bring the number of workers into minimum…maximum; `maximum` defaults to `minimum`.

        Unless `synchronous`, return before the workers have started. Raises ModelNotFound, VersionNotFound,
        WorkersFailed, BadRequest.
        """
        model = self._registry.get(name, version)
        if minimum < 0:
            raise WorkersFailed(
                f"min_worker must be 0 or more, not {minimum}; the workers of model {name} stay as they are."
            )
        check_workers(self._settings, ("min_worker", minimum), ("max_worker", maximum))
        if maximum is None:
            maximum = minimum
        if maximum < minimum:
            raise BadRequest("max_worker cannot be less than min_worker.")
        if not synchronous:
            self._in_background(self._then_report(self._scale(model, minimum, maximum)))
            return Outcome("Processing worker updates...", done=False)
        await self._whole(self._then_report(self._scale(model, minimum, maximum)))
        suffix = f", version: {version}" if version else ""
        return Outcome(f"Workers scaled to {len(model.pool.workers)} for model: {name}{suffix}")

    async def _scale(self, model: Model, minimum: int, maximum: int) -> None:
        try:
            await model.scale(minimum, maximum)
        except WorkersFailed as error:
            text = f"Failed to start workers for model {model.name} version: {model.version}."
            raise WorkersFailed(f"{text} {error}", out_of_memory=error.out_of_memory, brief=text) from error

    async def unregister(self, name: str, version: str | None) -> Outcome:
        """Remove a version, after serving what it has accepted, within unregister_model_timeout.

        A model that could not be loaded at start is forgotten. Raises ModelNotFound, VersionNotFound.
        """
        try:
            model = self._registry.remove(name, version)
        except NotFound:
            if not self._left_out.forget(name):
                raise
            await self._changed()
            return Outcome(f'Model "{name}" unregistered')
        await self._whole(self._then_report(self._removals.begin(model, self._settings.unregister_model_timeout)))
        return Outcome(f'Model "{name}" unregistered')

    async def _then_report(self, work: Awaitable[None], *, also_failed: bool = False) -> None:
        """Do `work`, then call `changed`. With `also_failed`, call it even if `work` raises."""
        try:
            await work
        except BaseException:
            if also_failed:
                await self._changed()
            raise
        await self._changed()

    async def renew(self, name: str, grace: float) -> None:
        """Replace the workers of the default version by new ones, which load its files as they are now.

        A running batch may take `grace` seconds. Raises WorkersFailed if a worker does not load.
        """
        model = self._registry.get(name)
        await model.pool.renew(grace)
        if model.cache is not None:
            model.cache.purge()

    async def set_default(self, name: str, version: str) -> Outcome:
        self._registry.set_default(name, version)
        await self._changed()
        return Outcome(f'Default version successfully updated for model "{name}" to "{version}"')

    def purge(self, name: str, version: str | None) -> Outcome:
        """Drop the answers that a version's cache keeps, or those of all versions. Raises as `describe` does."""
        models = self._registry.versions(name) if version is None else [self._registry.get(name, version)]
        count = sum(model.cache.purge() for model in models if model.cache is not None)
        return Outcome(f'{count} answers of model "{name}" dropped')

    async def set_traffic(self, name: str, given: Mapping[str, str] | None) -> Outcome:
        """Share a model's traffic as TrafficControl.set does; None gives all of it to the default version."""
        text = self.traffic.clear(name) if given is None else self.traffic.set(name, given)
        await self._changed()
        return Outcome(text)

    # ---- what there is

    async def describe(self, name: str, version: str | None, *, customized: bool = False) -> list[dict[str, Any]]:
        """Return an entry a version: the default, a named one or `all`. Raises ModelNotFound, VersionNotFound."""
        try:
            models = self._registry.versions(name) if version == "all" else [self._registry.get(name, version)]
        except ModelNotFound as error:
            raise self._left_out.explained(error, name) from None
        entries = [describe_model(model) | self.traffic.of_version(model.name) for model in models]
        if customized and version != "all":
            entries[0]["customizedMetadata"] = await describe_customized(models[0])
        return entries

    def list_models(self, limit: int, offset: int) -> dict[str, Any]:
        """Return a page of the default versions, by name; it has nextPageToken if more follow."""
        return list_page(self._registry.defaults(), limit, offset)

    def downloads(self) -> dict[str, Any]:
        """Return the downloads that are under way, for registrations or at start; totalBytes is None while unknown."""
        rows = self._registration.downloads()
        return {"downloads": [{"url": row.url, "receivedBytes": row.count, "totalBytes": row.total} for row in rows]}

    async def _whole(self, work: Coroutine[Any, Any, None]) -> None:
        """Complete `work` even if this call is cancelled because its client has gone."""
        await asyncio.shield(hold(self._unbreakable, asyncio.create_task(work)))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        hold(self._background, asyncio.create_task(log_failure(work)))
