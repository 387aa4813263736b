"""timed under TorchServe's name."""

from torchserve.core.handlers.timer import timed

__all__ = ["timed"]
