"""Re-exports MockContext under TorchServe's import path."""

from torchserve.core.handlers.mock_context import MockContext

__all__ = ["MockContext"]
