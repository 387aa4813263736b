"""Re-exports ImageClassifier under TorchServe's import path."""

from torchserve.core.handlers.image_classifier import ImageClassifier

__all__ = ["ImageClassifier"]
