"""Re-exports TRTLLMHandler under TorchServe's import path. torchserve.core.handlers.child_engine has it."""

from torchserve.core.handlers.child_engine import TRTLLMHandler

__all__ = ["TRTLLMHandler"]
