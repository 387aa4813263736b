"""BasePippyHandler under TorchServe's name."""

from torchserve.core.handlers.large_models import BasePippyHandler

__all__ = ["BasePippyHandler"]
