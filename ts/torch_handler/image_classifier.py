"""ImageClassifier under TorchServe's name."""

from torchserve.core.handlers.image_classifier import ImageClassifier

__all__ = ["ImageClassifier"]
