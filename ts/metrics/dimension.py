"""Dimension under TorchServe's name."""

from torchserve.core.handlers.emitter import Dimension

__all__ = ["Dimension"]
