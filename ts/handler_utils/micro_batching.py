"""Re-exports MicroBatching under TorchServe's import path."""

from torchserve.core.handlers.micro_batching import HANDLER_METHODS, MicroBatching

__all__ = ["HANDLER_METHODS", "MicroBatching"]
