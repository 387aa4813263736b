"""Re-exports ObjectDetector under TorchServe's import path."""

from torchserve.core.handlers.object_detector import ObjectDetector

__all__ = ["ObjectDetector"]
