"""The metrics API of TorchServe's older handlers and of their tests: Metric, MetricsStore, MetricsCacheYamlImpl."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import InvalidConfig
from ...metrics.spec import read_spec
from ...wire.messages import Metric as Configured
from ...wire.messages import Sample
from .emitter import UNITS, Dimension, MetricsEmitter, MetricTypes, running_emitter
from .metric_errors import MetricsCacheIOError, MetricsCachePyYamlError

log = logging.getLogger(__name__)


class Units:
    """An object whose `units` maps the short names of units to the long ones."""

    def __init__(self) -> None:
        self.units = dict(UNITS)


class Metric:
    """A counter with one value and its dimensions. `update` and `emit_metrics` count it for the model of the current
    batch.
    """

    def __init__(
        self,
        name: str,
        value: float,
        unit: str,
        dimensions: Sequence[Dimension],
        request_id: str | None = None,
        metric_method: str | None = None,
    ) -> None:
        self.name = name
        self.value = value
        self.unit = UNITS.get(unit, str(unit))
        self.dimensions = list(dimensions)
        self.dimension_names = [dimension.name for dimension in dimensions]
        self.dimension_values = [dimension.value for dimension in dimensions]
        self.metric_type = MetricTypes.COUNTER
        self.request_id = request_id
        self.metric_method = metric_method

    def update(self, value: float) -> None:
        self.emit(value)

    def reset(self) -> None:
        self.emit(0)

    def emit(self, value: float) -> None:
        """Count `value`. Outside of a running model the metric is written to the log."""
        emitter = running_emitter()
        if emitter is None:
            log.info("[METRICS]%s", self)
            return
        pairs = tuple((dimension.name, str(dimension.value)) for dimension in self.dimensions)
        index = emitter.index_of(self.request_id or "")
        emitter.emit(Sample(self.name, self.unit, self.metric_type.name, float(value), pairs, index))

    def __str__(self) -> str:
        dimensions = ",".join(map(str, self.dimensions))
        behind = f",{self.request_id}" if self.request_id else ""
        host, now = socket.gethostname(), int(time.time())
        return f"{self.name}.{self.unit}:{self.value}|#{dimensions}|#hostname:{host},{now}{behind}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "MetricName": self.name,
            "Value": self.value,
            "Unit": self.unit,
            "Dimensions": self.dimensions,
            "Timestamp": int(time.time()),
            "HostName": socket.gethostname(),
            "RequestId": self.request_id,
        }


class MetricEncoder(json.JSONEncoder):
    """A JSON encoder for metrics and dimensions."""

    def default(self, o: Any) -> Any:
        return o.to_dict() if isinstance(o, Metric | Dimension) else super().default(o)


def emit_metrics(metrics: Iterable[Any]) -> None:
    """Count each Metric of `metrics`. Write anything else to the log as it is."""
    for metric in metrics or ():
        if isinstance(metric, Metric):
            metric.emit(metric.value)
        else:
            log.info("[METRICS]%s", metric)


class MetricsStore(MetricsEmitter):
    """An emitter that works without a server, for tests of handlers."""

    def __init__(self, request_ids: Any, model_name: str) -> None:
        super().__init__(model_name)
        self.set_request_ids(_by_index(request_ids))


class MetricsCacheYamlImpl(MetricsEmitter):
    """An emitter with the metrics that `model_metrics` of a metrics.yaml declares.

    Raises MetricsCacheIOError if the file is missing, and MetricsCachePyYamlError if it is invalid.
    """

    def __init__(self, config_file_path: str) -> None:
        path = Path(config_file_path)
        if not path.is_file():
            raise MetricsCacheIOError(f"Error reading file {config_file_path}: there is none")
        try:
            declared = read_spec(path).model
        except InvalidConfig as error:
            raise MetricsCachePyYamlError(f"Error parsing file {error}") from error
        self.config_file_path = config_file_path
        self._declared = [Configured(each.name, each.unit, each.kind.upper(), each.dimensions) for each in declared]
        super().__init__("")

    def initialize_cache(self) -> None:
        super().__init__(self.model_name, self._declared)

    def set_request_ids(self, request_ids: Any) -> None:
        super().set_request_ids(_by_index(request_ids))


def _by_index(request_ids: Any) -> Mapping[int, str]:
    return request_ids if isinstance(request_ids, Mapping) else {0: str(request_ids)}
