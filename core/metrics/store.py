"""MetricStore: every metric of the server, under TorchServe's names, and its Prometheus text."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from math import inf
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.utils import floatToGoString

from ..wire.messages import Sample

HOST = socket.gethostname()
M = TypeVar("M", bound=MetricWrapperBase)
_MODEL = ("model_name", "model_version", "hostname")
_LEVEL = ("Level", "Hostname")
_UNITS = {"ms": "Milliseconds", "s": "Seconds", "percent": "Percent", "count": "Count"} | {
    "MB": "Megabytes", "GB": "Gigabytes", "kB": "Kilobytes", "B": "Bytes"
}  # fmt: skip


class MetricStore:
    """Counts on the event loop; `render` may be called from there too. Names and labels are TorchServe's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._families: dict[str, tuple[MetricWrapperBase, str]] = {}
        host = ("Host", HOST)
        self._requests = {
            klass: self._add(Counter, f"Requests{klass}", "counter metric with unit: Count", _LEVEL).labels(*host)
            for klass in ("2XX", "4XX", "5XX")
        }
        self._total = self._add(Counter, "ts_inference_requests_total", "counter metric with unit: Count", _MODEL)
        self._latency = self._add(
            Counter, "ts_inference_latency_microseconds", "counter metric with unit: Microseconds", _MODEL
        )
        self._queued = self._add(
            Counter, "ts_queue_latency_microseconds", "counter metric with unit: Microseconds", _MODEL
        )
        self._queue_time = self._add(Gauge, "QueueTime", "gauge metric with unit: Milliseconds", _LEVEL).labels(*host)
        self._thread_time = self._add(Gauge, "WorkerThreadTime", "gauge metric with unit: Milliseconds", _LEVEL).labels(
            *host
        )
        self._load_time = self._add(
            Gauge, "WorkerLoadTime", "gauge metric with unit: Milliseconds", ("WorkerName", *_LEVEL)
        )
        self._of_model: dict[tuple[str, str], tuple[Counter, Counter, Counter]] = {}

    def request(self, status: int) -> None:
        """A request of any route was answered."""
        klass = "2XX" if 200 <= status < 300 else "4XX" if 400 <= status < 500 else "5XX"
        self._requests[klass].inc()

    def prediction(self, model: str, version: str | None, latency_us: float, queue_us: float) -> None:
        """A prediction succeeded; `version` is what the request named, None if nothing."""
        key = (model, version or "default")
        children = self._of_model.get(key)
        if children is None:
            labels = (*key, HOST)
            children = self._of_model[key] = (
                self._total.labels(*labels), self._latency.labels(*labels), self._queued.labels(*labels)
            )  # fmt: skip
        children[0].inc()
        children[1].inc(latency_us)
        children[2].inc(queue_us)
        self._queue_time.set(queue_us / 1000.0)

    def forget(self, model: str) -> None:
        """Drop the pre-bound children of a model that was unregistered; its counters keep their values."""
        for key in [key for key in self._of_model if key[0] == model]:
            del self._of_model[key]

    def worker_answered(self, overhead_ms: float) -> None:
        """A batch came back; `overhead_ms` is its round trip less the handler's own time."""
        self._thread_time.set(max(0.0, overhead_ms))

    def worker_loaded(self, worker: str, milliseconds: float) -> None:
        self._load_time.labels(worker, "Host", HOST).set(milliseconds)

    def samples(self, model: str, emitted: Sequence[Sample]) -> None:
        """Values that a handler emitted. Labels are the sample's dimensions, and the host."""
        for sample in emitted:
            names = (*(name for name, _ in sample.dimensions), "Hostname")
            values = (*(value for _, value in sample.dimensions), HOST)
            family = self._emitted(sample, names)
            if family is None:
                continue
            child = family.labels(*values)
            if isinstance(child, Counter):
                child.inc(max(0.0, sample.value))
            elif isinstance(child, Gauge):
                child.set(sample.value)
            elif isinstance(child, Histogram):
                child.observe(sample.value)

    def render(self, names: Collection[str] = ()) -> bytes:
        """Prometheus text 0.0.4 of all families, or of those named."""
        with self._lock:
            chosen = [(name, *family) for name, family in self._families.items() if not names or name in names]
        return "".join(_family_text(name, metric, help_text) for name, metric, help_text in chosen).encode()

    def _add(self, kind: Callable[..., M], name: str, help_text: str, labels: Iterable[str]) -> M:
        metric = kind(name, help_text, tuple(labels), registry=CollectorRegistry(auto_describe=False))
        self._families[name] = (metric, f"Torchserve prometheus {help_text}")
        return metric

    def _emitted(self, sample: Sample, labels: tuple[str, ...]) -> MetricWrapperBase | None:
        known = self._families.get(sample.name)
        if known is not None:
            metric = known[0]
            return metric if metric._labelnames == labels else None  # noqa: SLF001  (it has no public name)
        kind = {"COUNTER": Counter, "HISTOGRAM": Histogram}.get(sample.kind, Gauge)
        unit = _UNITS.get(sample.unit, sample.unit)
        try:
            return self._add(kind, sample.name, f"{sample.kind.lower()} metric with unit: {unit}", labels)
        except ValueError:
            return None  # a name or label that Prometheus can't carry


def _family_text(name: str, metric: MetricWrapperBase, help_text: str) -> str:
    """One family as TorchServe prints it: its exact name, no `_total` added, a comma behind every label."""
    kind = "counter" if isinstance(metric, Counter) else "histogram" if isinstance(metric, Histogram) else "gauge"
    lines = [f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n"]
    for family in metric.collect():
        for sample in family.samples:
            suffix = sample.name.removeprefix(family.name)
            if suffix == "_created":
                continue
            shown = name if kind == "counter" else name + suffix
            labels = "".join(f'{key}="{_escape(value)}",' for key, value in sample.labels.items())
            value = floatToGoString(sample.value) if abs(sample.value) != inf else "NaN"
            lines.append(f"{shown}{{{labels}}} {value}\n")
    return "".join(lines)


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
