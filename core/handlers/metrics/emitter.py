"""The metrics API of handlers, `context.metrics`, which collects samples for the front. Names are TorchServe's."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from types import UnionType
from typing import Any

from ...wire.messages import Metric, Sample
from .dimension import Dimension, with_defaults
from .metric_errors import MetricsCacheKeyError, MetricsCacheTypeError, MetricsCacheValueError

log = logging.getLogger(__name__)

UNITS: dict[str | None, str] = {
    "ms": "Milliseconds",
    "s": "Seconds",
    "percent": "Percent",
    "count": "Count",
    "MB": "Megabytes",
    "GB": "Gigabytes",
    "kB": "Kilobytes",
    "B": "Bytes",
    "": "unit",
    None: "unit",
}
_TIME_OF_BATCH = "PredictionTime"
_TIME_UNITS = ("ms", "s")
_SIZE_UNITS = ("MB", "kB", "GB", "B")


class MetricTypes(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class CachingMetric:
    """A metric with fixed dimension names. An invalid value is dropped, with an error in the log."""

    def __init__(
        self,
        emitter: MetricsEmitter,
        metric_name: str,
        unit: str,
        dimension_names: Sequence[str],
        metric_type: MetricTypes,
    ) -> None:
        self._emitter = emitter
        self.metric_name = metric_name
        self.unit = UNITS.get(unit, str(unit))
        self.dimension_names = list(dimension_names)
        self.metric_type = metric_type

    def add_or_update(self, value: float, dimension_values: Sequence[Any] = (), request_id: str = "") -> None:
        """Emit `value`. The dimension values are in the order of the metric's dimension names."""
        self._emit(value, self.dimension_names, dimension_values, self._emitter.index_of(request_id))

    def update(self, value: float, request_id: str = "", dimensions: Sequence[Dimension] = ()) -> None:
        """Emit `value` with these dimensions in place of the metric's own."""
        names = [dimension.name for dimension in dimensions]
        values = [dimension.value for dimension in dimensions]
        self._emit(value, names, values, self._emitter.index_of(request_id))

    def emit_under(self, value: float, dimensions: Sequence[Dimension], index: int | None) -> None:
        """Emit `value` for the request with index `index`. Dimensions whose names agree are put in the
        metric's order.
        """
        given = {dimension.name: dimension.value for dimension in dimensions}
        if given.keys() == set(self.dimension_names):
            values = [given[name] for name in self.dimension_names]
        else:
            values = [dimension.value for dimension in dimensions]
        self._emit(value, self.dimension_names, values, index)

    def _emit(self, value: float, names: Sequence[str], values: Sequence[Any], index: int | None) -> None:
        if len(values) != len(names):
            self._refuse(value, f"Dimension values: {list(values)} should correspond to Dimension names: {list(names)}")
        elif self.metric_type is MetricTypes.COUNTER and value < 0:
            self._refuse(value, "Counter metric update value cannot be negative")
        else:
            pairs = tuple((str(name), str(given)) for name, given in zip(names, values, strict=True))
            self._emitter.emit(Sample(self.metric_name, self.unit, self.metric_type.name, float(value), pairs, index))

    def _refuse(self, value: float, why: str) -> None:
        text = "Failed to update metric with name:%s and dimensions: %s with value: %s: %s"
        log.error(text, self.metric_name, ",".join(self.dimension_names), value, why)


class MetricsEmitter:
    """A collector of samples. The backend calls `take()` after each batch.

    `idx` is the index of a request in the batch, or None for the whole batch. Each `add_…` call adds the dimensions
    ModelName and Level:Model, add_error only Level:Error, where the handler gave none of that name.
    """

    def __init__(self, model_name: str, configured: Iterable[Metric] = ()) -> None:
        self.model_name = model_name
        self.request_ids: Mapping[int, str] = {}
        self.cache: dict[MetricTypes, dict[str, CachingMetric]] = {kind: {} for kind in MetricTypes}
        self._samples: list[Sample] = []
        self._time_of_batch: tuple[CachingMetric | None, Sample] | None = None  # the latest, and the metric it is of
        for metric in configured:
            kind = MetricTypes[metric.kind]
            self.cache[kind][metric.name] = CachingMetric(self, metric.name, metric.unit, metric.dimensions, kind)

    # ---- what the backend calls

    def set_request_ids(self, request_ids: Mapping[int, str]) -> None:
        self.request_ids = request_ids
        _RUNNING[:] = [self]

    def emit(self, sample: Sample) -> None:
        self._samples.append(sample)

    def batch_took(self, milliseconds: float) -> None:
        """Emit PredictionTime, which every batch has. It is the sample of `add_time`, for a tenth of the calls."""
        value, latest = round(milliseconds, 2), self._time_of_batch
        metric = self.cache[MetricTypes.GAUGE].get(_TIME_OF_BATCH)
        if latest is not None and metric is latest[0]:
            was = latest[1]
            self._samples.append(Sample(was.name, was.unit, was.kind, value, was.dimensions))
            return
        before = len(self._samples)
        self.add_time(_TIME_OF_BATCH, value)
        if len(self._samples) > before:  # else its dimensions did not fit, which the log says each time
            self._time_of_batch = self.cache[MetricTypes.GAUGE].get(_TIME_OF_BATCH), self._samples[-1]

    def take(self) -> tuple[Sample, ...]:
        """Remove and return the samples since the last call."""
        samples, self._samples = self._samples, []
        return tuple(samples)

    def fork(self) -> MetricsEmitter:
        """Return an emitter with the same metrics for a request that runs beside others.

        Samples of a metric object that the handler has kept from before are returned by whichever emitter's `take` is
        called first.
        """
        made = _Fork(self)
        for kind, metrics in self.cache.items():
            made.cache[kind] = {
                name: CachingMetric(made, each.metric_name, each.unit, each.dimension_names, each.metric_type)
                for name, each in metrics.items()
            }
        return made

    def index_of(self, request_id: str) -> int | None:
        return next((index for index, known in self.request_ids.items() if known == request_id), None)

    # ---- what handlers call

    def add_counter(
        self, name: str, value: float, idx: int | None = None, dimensions: Sequence[Dimension] | None = None
    ) -> None:
        self.add_metric(name, value, "count", idx, dimensions, MetricTypes.COUNTER)

    def add_time(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "ms",
        dimensions: Sequence[Dimension] | None = None,
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        if unit not in _TIME_UNITS:
            raise MetricsCacheValueError(
                f"the unit for a timed metric should be one of {list(_TIME_UNITS)}, not {unit!r}"
            )
        self.add_metric(name, value, unit, idx, dimensions, metric_type)

    def add_size(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "MB",
        dimensions: Sequence[Dimension] | None = None,
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        if unit not in _SIZE_UNITS:
            raise MetricsCacheValueError(f"The unit for size based metric is one of {list(_SIZE_UNITS)}, not {unit!r}")
        self.add_metric(name, value, unit, idx, dimensions, metric_type)

    def add_percent(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        dimensions: Sequence[Dimension] | None = None,
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        self.add_metric(name, value, "percent", idx, dimensions, metric_type)

    def add_error(self, name: str, value: float, dimensions: Sequence[Dimension] | None = None) -> None:
        self._add(name, value, "", None, with_defaults(dimensions, Dimension("Level", "Error")), MetricTypes.COUNTER)

    def add_metric(
        self,
        name: str,
        value: float,
        unit: str,
        idx: int | None = None,
        dimensions: Sequence[Dimension] | None = None,
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> None:
        defaults = (Dimension("ModelName", self.model_name), Dimension("Level", "Model"))
        self._add(name, value, unit, idx, with_defaults(dimensions, *defaults), metric_type)

    def add_metric_to_cache(
        self,
        metric_name: str,
        unit: str,
        dimension_names: Sequence[str] | None = None,
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> CachingMetric:
        """Add and return a metric with the given dimension names. Raises MetricsCacheTypeError for an argument of a
        wrong type.
        """
        if dimension_names:  # a text would be taken for the names of its letters
            _check(dimension_names, list | tuple, "`dimension_names` must be a list of names")
        _check(metric_name, str, "`metric_name` must be a str")
        _check(unit, str, "`unit` must be a str")
        _check(metric_type, MetricTypes, "`metric_type` must be a MetricTypes enum")
        if metric_name in self.cache[metric_type]:
            log.warning("Overriding existing key %s:%s", metric_type, metric_name)
        metric = CachingMetric(self, metric_name, unit, dimension_names or (), metric_type)
        self.cache[metric_type][metric_name] = metric
        return metric

    def get_metric(self, metric_name: str, metric_type: MetricTypes = MetricTypes.COUNTER) -> CachingMetric:
        """Return the metric of this name and type. Raises MetricsCacheKeyError if there is none."""
        _check(metric_name, str, "`metric_name` must be a str")
        _check(metric_type, MetricTypes, "`metric_type` must be a MetricTypes enum")
        try:
            return self.cache[metric_type][metric_name]
        except KeyError:
            raise MetricsCacheKeyError(
                f"Metric of type '{metric_type}' and name '{metric_name}' doesn't exist"
            ) from None

    def cache_keys(self) -> list[str]:
        return [f"{kind.value}:{name}" for kind, metrics in self.cache.items() for name in metrics]

    def _add(
        self, name: str, value: float, unit: str, idx: int | None, dimensions: list[Dimension], metric_type: MetricTypes
    ) -> None:
        _check(name, str, "`metric_name` must be a str")
        _check(metric_type, MetricTypes, "`metric_type` must be a MetricTypes enum")
        metric = self.cache[metric_type].get(name)
        names = [dimension.name for dimension in dimensions]
        if metric is None:
            metric = CachingMetric(self, name, unit, names, metric_type)
            self.cache[metric_type][name] = metric
        metric.emit_under(value, dimensions, idx if idx in self.request_ids else None)


class _Fork(MetricsEmitter):
    def __init__(self, parent: MetricsEmitter) -> None:
        super().__init__(parent.model_name)
        self._parent = parent

    def take(self) -> tuple[Sample, ...]:
        return *self._parent.take(), *super().take()


def _check(value: object, expected: type | UnionType, complaint: str) -> None:
    if not isinstance(value, expected):
        raise MetricsCacheTypeError(complaint)


_RUNNING: list[MetricsEmitter] = []


def running_emitter() -> MetricsEmitter | None:
    """Return the emitter of the current or the last batch, for the older API, whose metrics have no context."""
    return _RUNNING[0] if _RUNNING else None
