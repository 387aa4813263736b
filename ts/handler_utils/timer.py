"""Re-exports timed under TorchServe's import path."""

from torchserve.core.handlers.timer import timed

__all__ = ["timed"]
