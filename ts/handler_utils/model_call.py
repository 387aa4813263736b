"""Exports what a handler gets of another model that it calls; TorchServe has none of this name."""

from torchserve.core.handlers.model_call import ModelAnswer, ModelCallFailed

__all__ = ["ModelAnswer", "ModelCallFailed"]
