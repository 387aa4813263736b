"""Re-exports CONTRACTION_MAP under TorchServe's import path."""

from torchserve.core.handlers.tokenizer import CONTRACTION_MAP

__all__ = ["CONTRACTION_MAP"]
