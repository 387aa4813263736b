"""Re-exports TextEmbedder under the path of a default handler: this server's own, unknown to TorchServe."""

from torchserve.core.handlers.text_embedder import TextEmbedder

__all__ = ["TextEmbedder"]
