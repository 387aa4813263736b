"""Re-exports TextClassifier under TorchServe's import path."""

from torchserve.core.handlers.text_classifier import TextClassifier

__all__ = ["TextClassifier"]
