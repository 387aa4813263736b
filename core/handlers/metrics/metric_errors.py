"""The exceptions of the metrics API. Their names are TorchServe's."""

from __future__ import annotations

import yaml


class GeneralMetricsCacheError(Exception):
    """An error in a metrics configuration that is none of the others."""


class MetricsCacheIOError(OSError):
    """An error for a metrics configuration that can't be read."""


class MetricsCachePyYamlError(yaml.YAMLError):
    """An error for a metrics configuration that is no YAML or declares no metrics."""


class MetricsCacheKeyError(KeyError):
    """An error for a metric that is neither configured nor was added."""


class MetricsCacheTypeError(TypeError):
    """An error for an argument of a wrong type."""


class MetricsCacheValueError(ValueError):
    """An error for an argument with an invalid value."""
