"""Re-exports MetricsStore under TorchServe's import path."""

from torchserve.core.handlers.metrics.older_metrics import MetricsStore

__all__ = ["MetricsStore"]
