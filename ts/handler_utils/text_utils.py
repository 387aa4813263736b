"""The words of a text under TorchServe's names."""

from torchserve.core.handlers.tokenizer import get_tokenizer, ngrams_iterator

__all__ = ["get_tokenizer", "ngrams_iterator"]
