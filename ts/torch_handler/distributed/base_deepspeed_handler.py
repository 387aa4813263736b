"""Re-exports BaseDeepSpeedHandler under TorchServe's import path."""

from torchserve.core.handlers.large_models import BaseDeepSpeedHandler

__all__ = ["BaseDeepSpeedHandler"]
