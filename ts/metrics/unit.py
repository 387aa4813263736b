"""Units under TorchServe's name."""

from torchserve.core.handlers.metrics.older_metrics import Units

__all__ = ["Units"]
