"""Re-exports BasePippyHandler under TorchServe's import path."""

from torchserve.core.handlers.large_models import BasePippyHandler

__all__ = ["BasePippyHandler"]
