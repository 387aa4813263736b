"""ObjectDetector under TorchServe's name."""

from torchserve.core.handlers.object_detector import ObjectDetector

__all__ = ["ObjectDetector"]
