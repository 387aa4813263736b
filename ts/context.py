"""Context under TorchServe's name."""

from torchserve.core.handlers.context import Context, RequestProcessor

__all__ = ["Context", "RequestProcessor"]
