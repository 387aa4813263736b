"""Re-exports VLLMHandler under TorchServe's import path. torchserve.core.handlers.child_engine has it."""

from torchserve.core.handlers.child_engine import VLLMHandler

__all__ = ["VLLMHandler"]
