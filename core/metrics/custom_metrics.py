"""CustomMetrics: the metrics of models, which the configuration declares or, with auto-detection, handlers emit."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence

from ..wire.messages import Sample
from .family import KINDS, Family, Shown
from .spec import Declared

log = logging.getLogger(__name__)

MAX_FAMILIES = 1000  # metrics that are kept, or logged as left out: handlers may make up names
MAX_SERIES = 10_000  # series of one metric: handlers may put anything into a dimension


class ModelMetric:
    """A family of a model metric, with a series for each set of dimensions that was emitted."""

    __slots__ = ("_bound", "_host", "_told", "family", "unit")

    def __init__(self, kind: str, name: str, unit: str, dimensions: Sequence[str], host: str) -> None:
        help_text = f"Torchserve prometheus {kind} metric with unit: {unit}"
        self.family = Family(kind, name, help_text, (*dimensions, "Hostname"))
        self.unit = unit
        self._host = host
        self._bound: dict[tuple[tuple[str, str], ...], Shown] = {}
        self._told = False

    def update(self, sample: Sample) -> bool:
        """Count a sample. Return False if its value does not fit the metric's kind and is dropped.

        A sample for which there is no series is still one for the log.
        """
        value, kind = sample.value, self.family.kind
        if (kind == "counter" and not value >= 0) or (kind == "histogram" and math.isnan(value)):
            return False
        series = self._bound.get(sample.dimensions) or self._bind(sample.dimensions)
        if series is not None:
            series.update(value)
        return True

    def forget(self, model: str) -> None:
        """Drop the gauges of an unregistered model; its counters and histograms stay."""
        if self.family.kind == "gauge":
            for dimensions in [key for key in self._bound if ("ModelName", model) in key]:
                del self._bound[dimensions]
                self.family.forget(*self._values(dict(dimensions)))

    def _bind(self, dimensions: tuple[tuple[str, str], ...]) -> Shown | None:
        given = dict(dimensions)
        expected = self.family.labels[:-1]
        if len(given) != len(dimensions) or given.keys() != set(expected):
            self._tell("dimensions %s do not fit the declared %s", list(given), list(expected))
            return None
        if len(self._bound) >= MAX_SERIES:
            self._tell("it has %d sets of dimensions, and no more are kept", MAX_SERIES)
            return None
        series = self._bound[dimensions] = self.family.series(*self._values(given))
        return series

    def _values(self, given: dict[str, str]) -> tuple[str, ...]:
        return (*(given[name] for name in self.family.labels[:-1]), self._host)

    def _tell(self, why: str, *details: object) -> None:
        if not self._told:
            self._told = True
            text = "Values of the model metric %s are missing in /metrics: "
            log.warning(text + why, self.family.name, *details)  # noqa: G003


class CustomMetrics:
    """A set of all models' metrics. `taken` holds the sample names that belong to other metrics.

    What Prometheus can't have (a label twice, a name that it doesn't read, more series than are kept) is no reason to
    leave out a line of the log, which keeps nothing.
    """

    def __init__(self, declared: Iterable[Declared], taken: set[str], host: str, *, detect: bool) -> None:
        self._host = host
        self._taken = taken
        self._detect = detect
        self._metrics: dict[str, ModelMetric] = {}
        self._left_out: set[str] = set()
        self._units: dict[str, str] = {}  # of the declared ones
        for each in declared:
            self._units[each.name] = each.unit
            self._add(each.kind, each.name, each.unit, each.dimensions)

    def families(self) -> list[Family]:
        return [metric.family for metric in list(self._metrics.values())]

    def update(self, samples: Sequence[Sample]) -> list[tuple[Sample, str]]:
        """Count a batch's samples. Return those that are declared or detected, each with its unit, for the log."""
        logged: list[tuple[Sample, str]] = []
        for sample in samples:
            metric = self._metrics.get(sample.name) or self._found(sample)
            if metric is not None:
                if metric.update(sample):
                    logged.append((sample, metric.unit))
            elif self._detect or sample.name in self._units:
                logged.append((sample, self._units.get(sample.name, sample.unit)))
        return logged

    def forget(self, model: str) -> None:
        for metric in self._metrics.values():
            metric.forget(model)

    def _found(self, sample: Sample) -> ModelMetric | None:
        name = sample.name
        if name in self._left_out or len(self._left_out) + len(self._metrics) >= MAX_FAMILIES:
            return None
        if self._detect:
            kind = sample.kind.lower()
            dimensions = [dimension for dimension, _ in sample.dimensions]
            return self._add(kind if kind in KINDS else "gauge", name, sample.unit, dimensions)
        self._left_out.add(name)
        text = (
            "The model metric %s is dropped: metrics_config does not list it, and model_metrics_auto_detect is not true"
        )
        log.warning(text, name)
        return None

    def _add(self, kind: str, name: str, unit: str, dimensions: Sequence[str]) -> ModelMetric | None:
        try:
            metric = ModelMetric(kind, name, unit, dimensions, self._host)
        except ValueError as error:
            self._hide(name, str(error))
            return None
        if not self._taken.isdisjoint(metric.family.sample_names):
            self._hide(name, "another metric has this name")
            return None
        self._taken.update(metric.family.sample_names)
        self._metrics[name] = metric
        return metric

    def _hide(self, name: str, why: str) -> None:
        self._left_out.add(name)
        log.warning("The model metric %s is not in /metrics: %s", name, why)
