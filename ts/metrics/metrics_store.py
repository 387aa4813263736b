"""MetricsStore under TorchServe's name."""

from torchserve.core.handlers.metrics.older_metrics import MetricsStore

__all__ = ["MetricsStore"]
