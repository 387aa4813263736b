"""TextHandler under TorchServe's name."""

from torchserve.core.handlers.text import TextHandler

__all__ = ["TextHandler"]
