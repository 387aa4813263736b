"""MetricEncoder under TorchServe's name."""

from torchserve.core.handlers.metrics.older_metrics import MetricEncoder

__all__ = ["MetricEncoder"]
