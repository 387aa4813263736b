"""Re-exports Units under TorchServe's import path."""

from torchserve.core.handlers.metrics.older_metrics import Units

__all__ = ["Units"]
