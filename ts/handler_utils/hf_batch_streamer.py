"""Re-exports TextIteratorStreamerBatch under TorchServe's import path."""

from torchserve.core.handlers.batch_streamer import TextIteratorStreamerBatch

__all__ = ["TextIteratorStreamerBatch"]
