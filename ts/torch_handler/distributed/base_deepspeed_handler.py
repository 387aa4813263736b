"""BaseDeepSpeedHandler under TorchServe's name."""

from torchserve.core.handlers.large_models import BaseDeepSpeedHandler

__all__ = ["BaseDeepSpeedHandler"]
