"""Re-exports ChildEngine under the path of a default handler: this server's own, unknown to TorchServe."""

from torchserve.core.handlers.child_engine import ChildEngine

__all__ = ["ChildEngine"]
