"""CONTRACTION_MAP under TorchServe's name."""

from torchserve.core.handlers.tokenizer import CONTRACTION_MAP

__all__ = ["CONTRACTION_MAP"]
