"""The base class of handlers of texts, which loads a vocabulary and cleans and splits texts. Imports torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from . import tokenizer
from .base import BaseHandler
from .context import Context
from .explaining import captum_attr
from .loading.weights import load_pickled, pickles_allowed

log = logging.getLogger(__name__)


class TextHandler(BaseHandler):
    """A handler of texts. Subclasses use `source_vocab`, which maps tokens to numbers."""

    source_vocab: Any = None
    tokenizer: Any = staticmethod(tokenizer.basic_english)
    input_text: Any = None
    _lig: Any = None

    def initialize(self, context: Context) -> None:
        """Load the model and its vocabulary. Raises RuntimeError, which says why, if the vocabulary can't be loaded."""
        super().initialize(context)
        self.initialized = False
        path = self.manifest["model"].get("sourceVocab") or self.get_source_vocab_path(context)
        self.source_vocab = _load_vocabulary(path, unsafe=pickles_allowed(context.model_yaml_config))
        self.initialized = True

    def get_source_vocab_path(self, ctx: Context) -> str:
        path = Path(ctx.system_properties["model_dir"], "source_vocab.pt")
        if not path.is_file():
            raise RuntimeError(
                f"Missing the source_vocab file: a text handler needs {path.name} in the archive (--extra-files), a"
                " dict of words and their numbers, saved with torch.save"
            )
        return str(path)

    @property
    def lig(self) -> Any:
        """Return captum's LayerIntegratedGradients of the embedding. Raises PredictionException (501)
        without captum.
        """
        """captum's LayerIntegratedGradients of the embedding. Raises PredictionException (501) without captum."""
        if self._lig is None:
            self._lig = captum_attr().LayerIntegratedGradients(self.model, self.model.embedding)
        return self._lig

    @lig.setter
    def lig(self, value: Any) -> None:
        self._lig = value

    def _expand_contractions(self, text: str) -> str:
        return tokenizer.expand_contractions(text)

    def _remove_accented_characters(self, text: str) -> str:
        return tokenizer.remove_accents(text)

    def _remove_html_tags(self, text: str) -> str:
        return tokenizer.remove_markup(text)

    def _remove_punctuation(self, text: str) -> str:
        return tokenizer.remove_punctuation(text)

    _remove_puncutation = _remove_punctuation  # TorchServe's misspelt name, which handlers may call

    def _tokenize(self, text: str) -> list[str]:
        return self.tokenizer(text)

    def get_word_token(self, input_tokens: Sequence[str]) -> list[str]:
        """Return the tokens without the character by which byte-pair tokenizers mark a space."""
        return [token.replace("Ġ", "") for token in input_tokens]

    def summarize_attributions(self, attributions: torch.Tensor) -> torch.Tensor:
        """Return the softmax of the attributions, divided by the norm of the vector of its sums over the embedding."""
        shares = torch.softmax(attributions, dim=1 if attributions.ndim == 2 else 0)
        return shares / torch.norm(shares.sum(dim=-1))


def _load_vocabulary(path: str, *, unsafe: bool) -> Any:
    """Return the vocabulary in the file. Raises RuntimeError, which names the file and what to save instead."""
    remedy = "save a dict of words and their numbers: torch.save(dict(vocab.get_stoi()), 'source_vocab.pt')"
    try:
        vocabulary = load_pickled(path, torch.device("cpu"), unsafe=unsafe)
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"{Path(path).name} is an object of {error.name}, which is not installed: {remedy}"
        ) from error
    except RuntimeError as error:
        raise RuntimeError(f"{error} If it is a vocabulary of torchtext, which is no longer made, {remedy}") from error
    if not hasattr(vocabulary, "__getitem__"):
        raise RuntimeError(f"{Path(path).name} holds a {type(vocabulary).__name__}, not a vocabulary: {remedy}")
    return vocabulary
