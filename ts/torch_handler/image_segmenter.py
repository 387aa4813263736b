"""ImageSegmenter under TorchServe's name."""

from torchserve.core.handlers.image_segmenter import ImageSegmenter

__all__ = ["ImageSegmenter"]
