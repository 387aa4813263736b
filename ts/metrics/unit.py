"""Units under TorchServe's name."""

from torchserve.core.handlers.older_metrics import Units

__all__ = ["Units"]
