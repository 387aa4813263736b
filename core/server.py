"""ModelServer: the one object that front doors get: both planes and what they share, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from .archive.fetch import end_downloads
from .archive.gcs import list_archives
from .archive.manifest import DEFAULT_VERSION
from .archive.signatures import check_signers
from .archive.store import default_name, list_store
from .config.saved_models import SavedModel, SavedModels
from .config.settings import Settings
from .container_limits import whole_cores
from .controlplane import ControlPlane
from .dataplane import DataPlane
from .errors import AlreadyRegistered, InvalidConfig, ServeError
from .gpus.gpu_allocator import GpuAllocator
from .limited_dataplane import LimitedDataPlane
from .metrics.due_counts import DueCounts
from .metrics.lines import Put
from .metrics.spec import MetricsSpec, read_spec
from .metrics.store import MetricStore
from .metrics.system import SystemSampler
from .model_calls import ModelCalls
from .models.model import Model
from .models.registry import Registry
from .models.snapshot import Snapshot
from .models.snapshot_folder import SnapshotFolder
from .models.snapshot_writer import SnapshotWriter
from .overview import Overview
from .payload_log.sinks import open_sink
from .payload_log.writer import PayloadWriter
from .tracing.tracing import Tracing
from .wire.malloc_tuning import keep_freed_memory
from .workdir import WorkDir
from .workflows.registry import Workflows

log = logging.getLogger(__name__)


class ModelServer:
    """The server behind the front doors.

    If `snapshots` is None, none are written. `kept` is the configuration that each snapshot holds; `put` takes the
    lines of ts_metrics.log and model_metrics.log.
    """

    def __init__(
        self,
        settings: Settings,
        put: Put | None = None,
        snapshots: SnapshotFolder | None = None,
        kept: Mapping[str, str] | None = None,
    ) -> None:
        keep_freed_memory()
        check_signers(settings.required_signers)
        self.settings = settings
        self.metrics = MetricStore(
            _metrics_spec(settings.metrics_config),
            mode=settings.metrics_mode,
            detect=settings.model_metrics_auto_detect,
            put=put,
            soon=DueCounts(),
        )
        self.tracing = _tracing(settings, self.metrics)
        registry = Registry()
        self._gpu_allocator = GpuAllocator(
            settings.number_of_gpu,
            headroom=settings.gpu_memory_headroom << 20,
            interval=settings.gpu_check_interval,
            leases=settings.gpu_lease_folder,
        )
        self._system: asyncio.Task[None] | None = None
        self._work = WorkDir()
        limits, most = settings.client_limits, settings.max_pending_bytes
        self.dataplane = DataPlane(registry, most)
        if limits is not None and limits.refuses:
            self.dataplane = LimitedDataPlane(registry, most, limits, settings.fair_share_header.lower())
        self._kept = kept or {}
        self._snapshots = snapshots and SnapshotWriter(snapshots, self._state)
        self.controlplane = ControlPlane(
            settings, registry, self.metrics, self._gpu_allocator, self._work.path, self._save_change
        )
        self.payloads = _payloads(settings, self.metrics)
        self.controlplane.connect(ModelCalls(self.dataplane), self.payloads)
        self.overview = Overview(registry, self.metrics, self._gpu_allocator, self.controlplane)
        self.workflows = Workflows(settings, self.dataplane, self.controlplane, self._work.path)
        self.overview.workflows = self.workflows.rows
        self._started = False

    async def start(self) -> None:
        """Register the models to load at start; their workers load in the background.

        A model that can't be registered is logged and left out, so that the others are served; the server is not ready
        without it. Where that leaves nothing of what was named, the first failure is raised (ServeError, OSError): no
        other model needs this server, and whoever starts it learns of it at once. A model that is in the model_snapshot
        too is loaded with the snapshot's options. Raises InvalidConfig for `all` without a model store.
        """
        if not self.settings.disable_system_metrics:
            sampler = SystemSampler(self.metrics, self._gpu_allocator.visible)
            self._system = asyncio.create_task(sampler.run(self.settings.metric_time_interval))
        saved = self.settings.model_snapshot or SavedModels()
        entries = self.settings.load_models
        if entries:
            workers = self.settings.default_workers_per_model
            workers = workers or min(await self.gpus() or whole_cores(), self.settings.most_workers)
            is_all = len(entries) == 1 and entries[0].lower() == "all"
            named = [(None, url) for url in self._stored()] if is_all else await _spread(entries)
            loading = (
                self._load(url, name, workers, keep=not is_all) for name, url in named if not _holds(saved, name, url)
            )
            loaded = await asyncio.gather(*loading)
            models = [model for model in loaded if isinstance(model, Model)]
            failed = [error for error in loaded if isinstance(error, Exception)]
            if failed and not (models or saved or is_all):
                raise failed[0]
            self.controlplane.settle_defaults(models)
        await self.controlplane.restore(saved)

    async def started(self) -> None:
        """Take the first snapshot. This must be called once the front doors are open."""
        self._started = True
        if self._snapshots is not None:
            await self._snapshots.save("startup")

    def _state(self) -> Snapshot:
        return Snapshot(self._kept, self.controlplane.saved())

    async def _save_change(self) -> None:
        if self._snapshots is not None and self._started:
            await self._snapshots.save()

    async def _load(self, url: str, name: str | None, workers: int, *, keep: bool) -> Model | Exception:
        """Load a model, or leave it out and return why.

        With `keep`, snapshots keep what is left out: it was named, and a start from a snapshot doesn't read load_models
        again.
        """
        try:
            return await self.controlplane.load_at_startup(url, name, workers)
        except AlreadyRegistered as error:  # another archive of this model version is served
            log.error("Failed to load model %s: %s", url, error)
            return error
        except (ServeError, OSError) as error:
            saved = SavedModel(
                name=name or default_name(Path(url)),
                version=DEFAULT_VERSION,
                archive=url,
                default=True,
                min_workers=workers,
                max_workers=workers,
            )
            self.controlplane.leave_out(url, error, name=name, saved=saved if keep else None)
            return error

    def _stored(self) -> tuple[str, ...]:
        if self.settings.model_store is None:
            raise InvalidConfig("Missing mandatory parameter --model-store: `all` loads what is in the model store")
        return list_store(self.settings.model_store)

    async def stop(self, grace: float) -> None:
        """End all models and workers and remove what was unpacked; accepted requests may take `grace` seconds."""
        self.controlplane.begin_drain()
        end_downloads()
        if self._system is not None:
            self._system.cancel()
        keep = self._snapshots is not None and self._started
        if self._snapshots is not None and self._started:
            await self._snapshots.save("shutdown")
        await self.controlplane.close(grace, keep_downloads=keep)
        await self._gpu_allocator.close()
        self.metrics.settle()
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)
        if self.payloads is not None:
            await asyncio.to_thread(self.payloads.close)
        self._work.remove()

    def abandon(self) -> None:
        """Remove what would outlive this process, which is about to exit at once. Workers end with their parent."""
        self._work.remove()

    async def gpus(self) -> int:
        """Return how many GPUs workers may be placed on."""
        try:
            return len(await self._gpu_allocator.visible())
        except TimeoutError:
            log.error("NVML did not answer: the GPU driver of this host hangs")
            return 0


async def _spread(entries: tuple[str, ...]) -> list[tuple[str | None, str]]:
    """Return names and urls of entries, of a folder of Google Cloud Storage those of its archives."""
    named: list[tuple[str | None, str]] = []
    for name, url in map(split_model, entries):
        if url.startswith("gs://") and url.endswith("/"):
            named += [(None, each) for each in await asyncio.to_thread(list_archives, url)]
        else:
            named.append((name, url))
    return named


def _tracing(settings: Settings, metrics: MetricStore) -> Tracing | None:
    """Return what records requests, if the settings say so. Raises InvalidConfig where a package is missing."""
    if settings.otlp_traces_endpoint is None:
        return None
    headers = settings.otlp_traces_headers or ""
    tracing = Tracing(settings.otlp_traces_endpoint, headers, settings.trace_sampling_rate)
    exporter = tracing.exporter
    metrics.read("torchserve_trace_spans_exported_total", (), lambda: exporter.sent)
    metrics.read("torchserve_trace_records_lost_total", ("queue_full",), lambda: exporter.overflowed)
    metrics.read("torchserve_trace_records_lost_total", ("collector",), lambda: exporter.unsent)
    return tracing


def _payloads(settings: Settings, metrics: MetricStore) -> PayloadWriter | None:
    """Return what writes sampled requests and answers, if the settings say where to."""
    if settings.payload_log is None:
        return None
    writer = PayloadWriter(open_sink(settings.payload_log, settings.payload_log_headers or ""))
    metrics.read("torchserve_payload_records_written_total", (), lambda: writer.written)
    metrics.read("torchserve_payload_records_lost_total", ("queue_full",), lambda: writer.overflowed)
    metrics.read("torchserve_payload_records_lost_total", ("sink",), lambda: writer.unsent)
    metrics.read("torchserve_payload_records_lost_total", ("redaction",), lambda: writer.unredacted)
    return writer


def _metrics_spec(path: Path | None) -> MetricsSpec:
    """Return the metrics that the file declares. If it can't be used, log an error and return the default ones."""
    if path is not None:
        try:
            return read_spec(path)
        except InvalidConfig as error:
            log.error("Failed to load metrics configuration; the default metrics are used: %s", error)
    return read_spec()


def _holds(saved: SavedModels, name: str | None, url: str) -> bool:
    return any(model.archive == url and name in {None, model.name} for model in saved)


def split_model(entry: str) -> tuple[str | None, str]:
    """Return the name (None if there is none) and the url of `name=url`; an `=` in a URL's query splits no name off."""
    name, separator, url = entry.partition("=")
    if separator and "/" not in name and ":" not in name:
        return name.strip() or None, url.strip()
    return None, entry
