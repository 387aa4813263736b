"""Re-exports the tokenizer of texts under TorchServe's import path."""

from torchserve.core.handlers.tokenizer import get_tokenizer, ngrams_iterator

__all__ = ["get_tokenizer", "ngrams_iterator"]
