"""What the metrics API raises. Names are TorchServe's."""

from __future__ import annotations

import yaml


class GeneralMetricsCacheError(Exception):
    """Something else is wrong with a metrics configuration."""


class MetricsCacheIOError(OSError):
    """A metrics configuration can't be read."""


class MetricsCachePyYamlError(yaml.YAMLError):
    """A metrics configuration is no YAML, or declares no metrics."""


class MetricsCacheKeyError(KeyError):
    """No metric of this name and type is configured or was added."""


class MetricsCacheTypeError(TypeError):
    """An argument of the metrics API has the wrong type."""


class MetricsCacheValueError(ValueError):
    """An argument of the metrics API has a value it can't have."""
