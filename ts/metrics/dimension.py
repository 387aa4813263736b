"""Re-exports Dimension under TorchServe's import path."""

from torchserve.core.handlers.metrics.dimension import Dimension

__all__ = ["Dimension"]
