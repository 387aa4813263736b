"""MetricsStore under TorchServe's name."""

from torchserve.core.handlers.older_metrics import MetricsStore

__all__ = ["MetricsStore"]
