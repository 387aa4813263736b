"""MockContext under TorchServe's name."""

from torchserve.core.handlers.mock_context import MockContext

__all__ = ["MockContext"]
