"""Re-exports Metric under TorchServe's import path."""

from torchserve.core.handlers.metrics.older_metrics import Metric

__all__ = ["Metric"]
