"""TextClassifier under TorchServe's name."""

from torchserve.core.handlers.text_classifier import TextClassifier

__all__ = ["TextClassifier"]
