"""MetricsCacheYamlImpl under TorchServe's name."""

from torchserve.core.handlers.metrics.older_metrics import MetricsCacheYamlImpl

__all__ = ["MetricsCacheYamlImpl"]
