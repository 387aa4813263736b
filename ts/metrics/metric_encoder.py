"""Re-exports MetricEncoder under TorchServe's import path."""

from torchserve.core.handlers.metrics.older_metrics import MetricEncoder

__all__ = ["MetricEncoder"]
