"""Re-exports ImageSegmenter under TorchServe's import path."""

from torchserve.core.handlers.image_segmenter import ImageSegmenter

__all__ = ["ImageSegmenter"]
