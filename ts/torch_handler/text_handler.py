"""Re-exports TextHandler under TorchServe's import path."""

from torchserve.core.handlers.text import TextHandler

__all__ = ["TextHandler"]
