"""TextIteratorStreamerBatch under TorchServe's name."""

from torchserve.core.handlers.batch_streamer import TextIteratorStreamerBatch

__all__ = ["TextIteratorStreamerBatch"]
