"""Dimension under TorchServe's name."""

from torchserve.core.handlers.metrics.emitter import Dimension

__all__ = ["Dimension"]
