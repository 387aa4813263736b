"""MicroBatching under TorchServe's name."""

from torchserve.core.handlers.micro_batching import HANDLER_METHODS, MicroBatching

__all__ = ["HANDLER_METHODS", "MicroBatching"]
