"""BaseHandler under TorchServe's name."""

from torchserve.core.handlers.base import BaseHandler

__all__ = ["BaseHandler"]
