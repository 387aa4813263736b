"""MetricStore: all metrics of the server, TorchServe's and our own, and their Prometheus text."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache

from ..wire.messages import Metric, Sample
from .catalog import LANGUAGE_MODELS, OWN
from .custom_metrics import CustomMetrics
from .engine_text import EngineText
from .family import Family
from .lines import MODEL_METRICS, Gathered, Logged, LoggedCounter, ModelLines, Put, ServerLines
from .model_metrics import MANY, TS, ModelMetrics, Soon
from .open_metrics import open_text, reworded
from .series import NOTHING, Counter, Reading, Series
from .spec import Declared, MetricsSpec, read_spec

log = logging.getLogger(__name__)
HOST = socket.gethostname()
_OF_HOST = ("Host", HOST)
GPU_METRICS = ("GPUMemoryUtilization", "GPUMemoryUsed", "GPUUtilization")
OWN_GPU_METRICS = (
    "torchserve_gpu_memory_used_bytes", "torchserve_gpu_memory_total_bytes", "torchserve_gpu_utilization_ratio",
)  # fmt: skip


@cache
def default_spec() -> MetricsSpec:
    """Return the metrics that are declared when the configuration names no file."""
    return read_spec()


class MetricStore:
    """The store of all metrics. It counts on the event loop; `render` may be called from any thread, after `settle`.

    `mode` is metrics_mode: unless it is prometheus, new values go to `put` as log lines too. In legacy mode, the three
    metrics that TorchServe 0.6 had in Prometheus are shown, and TorchServe's others are only logged. With `detect`,
    model metrics that `spec` does not declare are taken too. `declared` holds the declared ones, for handlers. `soon`
    has a function called in a moment on the event loop, so that what requests count can be gathered; without it, each
    is counted at once.
    """

    def __init__(
        self,
        spec: MetricsSpec | None = None,
        *,
        mode: str = "log",
        detect: bool = False,
        put: Put | None = None,
        soon: Soon | None = None,
    ) -> None:
        self.soon = soon
        spec = default_spec() if spec is None else spec
        self._put = None if mode == "prometheus" else put
        self._lines = ServerLines(self._put) if self._put is not None else None
        self._legacy = mode == "legacy"
        self._units = {each.name: each.unit for each in spec.server}
        self._own = {each.name: each.family() for each in (*OWN, *LANGUAGE_MODELS)}
        taken = {name for family in self._own.values() for name in family.sample_names}
        self._server = _server_families(spec.server, taken)
        self._custom = CustomMetrics(spec.model, taken, HOST, detect=detect)
        self.declared = tuple(Metric(each.name, each.unit, each.kind.upper(), each.dimensions) for each in spec.model)
        self._statuses: dict[int, int] = {}  # of answered requests that are not counted yet
        self._requests = [self.server(f"Requests{number}XX", *_OF_HOST) for number in (2, 4, 5)]
        self.queue_time = self.server("QueueTime", *_OF_HOST)
        self.thread_time = self.server("WorkerThreadTime", *_OF_HOST)
        self._gathered: list[ModelLines] = []
        self._engines = EngineText()
        self._gpus: set[str] = set()
        self._load_times: dict[str, tuple[str, ...]] = {}
        self._models: dict[tuple[str, str], ModelMetrics] = {}

    # ---- what is counted

    def request(self, status: int) -> None:
        """Count a request of any route that was answered with `status`, of which 101 is a success as 200 is."""
        statuses = self._statuses
        due = bool(statuses)
        statuses[status] = statuses.get(status, 0) + 1
        if due:
            return
        if self.soon is None:
            self._settle_requests()
        else:
            self.soon(self._settle_requests)

    def _settle_requests(self) -> None:
        statuses, self._statuses = self._statuses, {}
        for status, number in statuses.items():
            self._requests[0 if 100 <= status < 300 else 1 if 400 <= status < 500 else 2].update(float(number))

    def of_model(self, name: str, version: str) -> ModelMetrics:
        """Return new metrics for a model version that is being registered."""
        self._end(name, version)
        made = self._models[name, version] = ModelMetrics(self, name, version, HOST)
        return made

    def forget(self, metrics: ModelMetrics) -> None:
        """Remove the gauges and our own series of an unregistered version; TorchServe's counters stay."""
        if self._models.get((metrics.model, metrics.version)) is metrics:  # else the version has been registered anew
            self._end(metrics.model, metrics.version)

    def _end(self, name: str, version: str) -> None:
        ended = self._models.pop((name, version), None)
        if ended is None:
            return
        ended.unbind()
        family = self._server.get("WorkerLoadTime")
        for worker in [worker for worker in self._load_times if worker.endswith(f"-{name}_{version}")]:
            values = self._load_times.pop(worker)
            if family is not None:
                family.forget(*values)
        if not any(model == name for model, _ in self._models):
            self._custom.forget(name)

    def system(self, host: Iterable[tuple[str, float]], gpus: Iterable[tuple[str, str, float]]) -> None:
        """Set the machine's metrics, from pairs of name and value; for GPUs the device comes first.

        A GPU that is not among `gpus` is no longer shown.
        """
        for name, value in host:
            self.server(name, *_OF_HOST).update(value)
        seen: set[str] = set()
        for device, name, value in gpus:
            seen.add(device)
            family = self._own.get(name)
            series = self.server(name, "Host", device, HOST) if family is None else family.series(device)
            series.update(value)
        for device in self._gpus - seen:
            for name in OWN_GPU_METRICS:
                self._own[name].forget(device)
            for name in GPU_METRICS:
                if name in self._server:
                    self._server[name].forget("Host", device, HOST)
        self._gpus = seen

    def answered(self) -> tuple[float, float, float]:
        """Return how many requests of any route were answered with 2xx, 4xx and 5xx; 0 for what is not declared."""
        self._settle_requests()
        families = [self._server.get(f"Requests{number}XX") for number in (2, 4, 5)]
        shown = [0.0 if family is None else getattr(family.series(*_OF_HOST), "value", 0.0) for family in families]
        return shown[0], shown[1], shown[2]

    def settle(self) -> None:
        """Count what requests have noted and nobody has counted yet."""
        self._settle_requests()
        for each in self._models.values():
            each.settle()

    # ---- what a ModelMetrics needs

    def server(self, name: str, *values: str) -> Series:
        """Return a series of TorchServe's metrics, or NOTHING if the configuration leaves the metric out."""
        family = self._server.get(name)
        if family is None or len(family.labels) != len(values):
            return NOTHING
        series = family.series(*values)
        if self._lines is None or (self._legacy and name in TS):
            return series
        if isinstance(series, Counter):
            return LoggedCounter(series, family, self._units[name], values, HOST, self._lines)
        return Logged(series, family, self._units[name], values, HOST, self._lines)

    def own(self, name: str) -> Family:
        return self._own[name]

    def read(self, name: str, values: tuple[str, ...], value: Callable[[], float]) -> None:
        """Show, under one of our own metrics, the result of `value`, which may be called from any thread."""
        self._own[name].attach(values, Reading(value))

    def samples(self, emitted: Sequence[Sample], request_ids: Sequence[str], *, gather: bool = False) -> None:
        """Count what a handler emitted for a batch, and log it: at once, as its client may look for it, or if it is to
        `gather` with what others emit before the next that is logged at once, or `log_gathered`.

        The log's thread costs a request more to wake than its lines cost to write.
        """
        counted = self._custom.update(emitted)
        if self._put is not None and counted:
            self._gathered.append(ModelLines(counted, HOST, request_ids))
            if not gather or len(self._gathered) >= MANY:
                self.log_gathered()

    def log_gathered(self) -> None:
        """Log what has been gathered."""
        if self._put is not None and self._gathered:
            gathered, self._gathered = self._gathered, []
            self._put(MODEL_METRICS, gathered[0] if len(gathered) == 1 else Gathered(gathered))

    def worker_loaded(self, worker: str, milliseconds: float) -> None:
        values = self._load_times[worker] = (worker, *_OF_HOST)
        self.server("WorkerLoadTime", *values).update(milliseconds)

    def engine_metrics(self, worker: str, text: str) -> None:
        """Show the metrics of a worker's own engine from now on, or no more if there is no text."""
        self._engines.update(worker, text)

    # ---- what is shown

    def render(self, names: Collection[str] = ()) -> bytes:
        """Return the Prometheus text 0.0.4 of all families, or of those named; a `*` in a name matches anything."""
        text = "".join([family.text() for family in self._chosen(names)])
        return (text + self._engine_text(names)).encode()

    def render_open(self, names: Collection[str] = ()) -> bytes:
        """Return the same as OpenMetrics 1.0, whose histograms name the traces of some requests."""
        text = "".join([open_text(family) for family in self._chosen(names)])
        return f"{text}{reworded(self._engine_text(names))}# EOF\n".encode()

    def _families(self) -> list[Family]:
        if self._legacy:
            families = [family for name, family in self._server.items() if name in TS]
        else:
            families = [*self._server.values(), *self._custom.families()]
        families += [self._own[each.name] for each in OWN]
        families += [family for each in LANGUAGE_MODELS if len(family := self._own[each.name])]
        return families

    def _chosen(self, names: Collection[str]) -> list[Family]:
        return [each for each in self._families() if not names or any(fnmatchcase(each.name, name) for name in names)]

    def _engine_text(self, names: Collection[str]) -> str:
        return self._engines.render(names, {name for each in self._families() for name in each.sample_names})


def _server_families(declared: Iterable[Declared], taken: set[str]) -> dict[str, Family]:
    """Return a family for each declared metric that can be shown; add its sample names to `taken`."""
    families: dict[str, Family] = {}
    for each in declared:
        help_text = f"Torchserve prometheus {each.kind} metric with unit: {each.unit}"
        try:
            family = Family(each.kind, each.name, help_text, each.dimensions)
            if not taken.isdisjoint(family.sample_names):
                raise ValueError(f"{each.name} is the name of another metric")
        except ValueError as error:
            log.error("A metric of metrics_config is left out: %s", error)
        else:
            taken.update(family.sample_names)
            families[each.name] = family
    return families
