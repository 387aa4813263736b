"""Re-exports Context under TorchServe's import path."""

from torchserve.core.handlers.context import Context, RequestProcessor

__all__ = ["Context", "RequestProcessor"]
