"""Re-exports MetricsCacheYamlImpl under TorchServe's import path."""

from torchserve.core.handlers.metrics.older_metrics import MetricsCacheYamlImpl

__all__ = ["MetricsCacheYamlImpl"]
