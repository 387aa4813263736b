"""VisionHandler under TorchServe's name."""

from torchserve.core.handlers.vision import VisionHandler

__all__ = ["VisionHandler"]
