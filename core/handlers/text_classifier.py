"""The default handler `text_classifier`, for bags of n-grams (EmbeddingBag)."""

from __future__ import annotations

from typing import Any

import torch

from .labels import map_class_to_label
from .prediction_exception import PredictionException
from .text import TextHandler
from .timer import timed
from .tokenizer import ngrams_iterator

_UNKNOWN = "<unk>"


class TextClassifier(TextHandler):
    """A handler that calls the model with the numbers of all n-grams, and the offset at which each text begins.

    It answers {label: probability} for each class.
    """

    ngrams = 2

    @timed
    def preprocess(self, data: Any) -> Any:
        """Return (numbers, n-grams) of a single text; of several, all numbers, the n-grams of the first, and the
        offsets.

        Raises PredictionException (400) for a text without tokens and for a token that the vocabulary has no number
        for.
        """
        texts = [self._words(row) for row in data]
        numbers = [[self._number(token) for token in ngrams_iterator(text, self.ngrams)] for text in texts]
        if not all(numbers):
            raise PredictionException("the text has no words", 400)
        flat = torch.as_tensor([number for each in numbers for number in each], device=self.device)
        if len(numbers) == 1:
            return flat, texts[0]
        starts = [sum(map(len, numbers[:index])) for index in range(len(numbers))]
        return flat, texts[0], torch.as_tensor(starts, device=self.device)

    @timed
    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        numbers, _, *rest = data
        starts = rest[0] if rest else torch.as_tensor([0], device=self.device)
        rows = len(starts)
        if more := self.padded_size(rows) - rows:
            last = numbers[int(starts[-1]) :]
            starts = torch.cat([starts, len(numbers) + len(last) * torch.arange(more, device=starts.device)])
            numbers = torch.cat([numbers, last.repeat(more)])
        return self._run_model(numbers, starts)[:rows]

    @timed
    def postprocess(self, data: Any) -> list[dict[str, float]]:
        return map_class_to_label(torch.softmax(data, dim=1).tolist(), self.mapping)

    def get_insights(self, tensor_data: Any, raw_input: Any, target: Any = 0) -> list[dict[str, Any]]:
        """Return the first text's tokens, and the attribution of each of the model's inputs to the class `target`."""
        numbers, tokens, *_ = tensor_data
        attributions = self.lig.attribute(
            numbers,
            torch.zeros_like(numbers),
            additional_forward_args=torch.tensor([0], device=self.device),
            return_convergence_delta=False,
            target=target,
        )
        importances = self.summarize_attributions(attributions).tolist()
        return [{"importances": importances, "words": self.get_word_token(tokens)}]

    def _words(self, row: Any) -> list[str]:
        text = row.get("data") or row.get("body") or ""
        if isinstance(text, bytes | bytearray):
            text = text.decode("utf-8", "replace")
        if not isinstance(text, str):
            raise PredictionException(f"expected a text, got a {type(text).__name__}", 400)
        text = self._expand_contractions(self._remove_html_tags(text).lower())
        return self._tokenize(self._remove_punctuation(self._remove_accented_characters(text)))

    def _number(self, token: str) -> int:
        try:
            return self.source_vocab[token]
        except KeyError:
            pass
        try:
            return self.source_vocab[_UNKNOWN]
        except KeyError:
            text = f"the model's vocabulary has neither {token!r} nor {_UNKNOWN}, which stands for unknown words"
            raise PredictionException(text, 400) from None
