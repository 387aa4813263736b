"""Re-exports VisionHandler under TorchServe's import path."""

from torchserve.core.handlers.vision import VisionHandler

__all__ = ["VisionHandler"]
