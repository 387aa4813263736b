"""Exports the functions that stream the tokens of a handler; TorchServe has none of this name."""

from torchserve.core.handlers.token_streaming import in_background, stream_tokens

__all__ = ["in_background", "stream_tokens"]
