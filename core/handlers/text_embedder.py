"""TextEmbedder: the default handler of text encoders. It answers OpenAI's embeddings.

The requests of a batch are computed together: their texts are sorted by length, so that little is padded, and cut into
pieces of a bounded number of tokens.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch

from ..container_limits import whole_cores
from ..generation.openai_embeddings import EmbeddingRequest, read_embeddings
from ..generation.openai_fields import Refused
from ..generation.openai_request import body_of
from .context import Context

_DEFAULTS: dict[str, Any] = {"model_path": ".", "dtype": "auto", "pooling": "auto", "batch_tokens": 16384, "threads": 0}
_CHOICES = {"dtype": ("auto", "float32", "bfloat16", "float16"), "pooling": ("auto", "mean", "cls")}
_SPANS = {"batch_tokens": (1, 2**31 - 1), "threads": (0, 1024)}
# Tokens of padding that take a CPU as long as a piece of its own, which reads all weights once more: MiniLM and BERT
# are equally fast with 12 to 48. A GPU pads up to `batch_tokens`.
_PADDING = 24
_OFFSET_POSITIONS = ("roberta", "camembert", "mpnet")  # their positions begin behind the one of padding
_SMALL = 1 << 20  # bytes; the files that say how a model pools have some hundreds


class TextEmbedder:
    """A handler of one encoder in transformers' format, such as MiniLM. Vectors are normalised.

    Its options are those of `handler:` in model-config.yaml: `model_path` is the model's folder, `pooling` how the
    vectors of a text's tokens become one, and `batch_tokens` the most that are computed at once, padding included.
    """

    def initialize(self, context: Context) -> None:
        """Load tokenizer and model. Raises ValueError, and what transformers raises."""
        from ..generation.hf_model import load_encoder

        options = read_options(context.model_yaml_config.get("handler", {}))
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        self._device = f"cuda:{gpu}" if gpu is not None else "cpu"
        if gpu is None and options["threads"]:
            torch.set_num_threads(min(options["threads"], whole_cores()))
        folder = Path(properties["model_dir"], options["model_path"])
        self._tokenizer, self._model = load_encoder(folder, options["dtype"], self._device)
        self._batch_tokens: int = options["batch_tokens"]
        self._padding = _PADDING if gpu is None else self._batch_tokens
        self._first_only = pooling_of(folder, options["pooling"]) == "cls"
        self._longest = longest_of(folder, self._model.config, self._tokenizer)

    def handle(self, data: Sequence[Mapping[str, Any]], context: Context) -> list[Any]:
        """Answer the requests of a batch in OpenAI's format; one that is refused leaves the others alone."""
        requests: list[tuple[EmbeddingRequest, list[list[int]], str] | Refused] = []
        for index, row in enumerate(data):
            try:
                requests.append(self._read(row, index, context))
            except Refused as refused:
                requests.append(refused)
        read = [each for each in requests if not isinstance(each, Refused)]
        vectors = iter(self._embed([tokens for _, inputs, _ in read for tokens in inputs]))
        return [
            self._refuse(each, index, context)
            if isinstance(each, Refused)
            else self._answer(*each, vectors, index, context)
            for index, each in enumerate(requests)
        ]

    def _read(
        self, row: Mapping[str, Any], index: int, context: Context
    ) -> tuple[EmbeddingRequest, list[list[int]], str]:
        """Return a request, the tokens of its texts, and the name of the model. Raises Refused."""
        path = str(context.get_request_header(index, "url_path") or "v1/embeddings").strip("/")
        if path != "v1/embeddings":
            raise Refused(f"This model has no '{path}': it has v1/embeddings.", status=404)
        body = body_of(row)
        request = read_embeddings(body)
        size = self._model.config.hidden_size
        if request.dimensions not in (None, size):
            raise Refused(f"'dimensions' is {request.dimensions}, and this model's vectors have {size}.", "dimensions")
        return request, [self._tokens(each) for each in request.inputs], str(body.get("model") or context.model_name)

    def _tokens(self, given: str | tuple[int, ...]) -> list[int]:
        tokens = list(self._tokenizer.encode(given)) if isinstance(given, str) else list(given)
        known = self._model.config.vocab_size
        if max(tokens, default=0) >= known:
            raise Refused(f"'input' has the token {max(tokens)}, and the model has {known} tokens.", "input")
        if not 1 <= len(tokens) <= self._longest:
            raise Refused(
                f"This model's maximum context length is {self._longest} tokens. However, an input has {len(tokens)}"
                " tokens. Please reduce its length.", "input", "context_length_exceeded",
            )  # fmt: skip
        return tokens

    def _embed(self, inputs: Sequence[Sequence[int]]) -> list[np.ndarray[Any, Any]]:
        """Return the vector of each input, in float32."""
        found: dict[int, np.ndarray[Any, Any]] = {}
        for piece in pieces(list(map(len, inputs)), self._batch_tokens, self._padding):
            found.update(zip(piece, self._compute([inputs[index] for index in piece]), strict=True))
        return [found[index] for index in range(len(inputs))]

    def _compute(self, inputs: Sequence[Sequence[int]]) -> np.ndarray[Any, Any]:
        ids = torch.full((len(inputs), max(map(len, inputs))), self._tokenizer.pad_token_id or 0)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(inputs):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        with torch.inference_mode():
            states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            weights = mask.unsqueeze(-1)
            pooled = states[:, 0] if self._first_only else (states * weights).sum(1) / weights.sum(1)
            return torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()

    def _answer(
        self, request: EmbeddingRequest, inputs: Sequence[Sequence[int]], name: str,
        vectors: Iterator[np.ndarray[Any, Any]], index: int, context: Context,
    ) -> bytes:  # fmt: skip
        data = [
            {"object": "embedding", "index": at, "embedding": _written(next(vectors), request)}
            for at in range(len(inputs))
        ]
        tokens = sum(map(len, inputs))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        context.set_response_content_type(index, "application/json")
        told = {"object": "list", "data": data, "model": name, "usage": usage}
        return orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)

    def _refuse(self, refused: Refused, index: int, context: Context) -> bytes:
        context.set_response_status(refused.status, idx=index)
        context.set_response_content_type(index, "application/json")
        return refused.written()


def pieces(lengths: Sequence[int], most: int, padding: int) -> list[list[int]]:
    """Return the indices of texts of these lengths in pieces, longest first, each of at most `most` tokens, of which at
    most `padding` are padding. A text that is longer alone is a piece of its own.
    """
    found: list[list[int]] = []
    room = longest = padded = 0
    for index in sorted(range(len(lengths)), key=lambda each: -lengths[each]):
        padded += longest - lengths[index]
        if not room or padded > padding:
            found.append([])
            longest, padded = lengths[index], 0
            room = max(1, most // longest)
        found[-1].append(index)
        room -= 1
    return found


def read_options(said: Any) -> dict[str, Any]:
    """Return the options in `said` with defaults for the others. Raises ValueError that names the key."""
    if not isinstance(said, Mapping):
        raise ValueError(f"model-config.yaml: handler must be a table of options, not {said!r}")  # noqa: TRY004
    for key, value in said.items():
        if key not in _DEFAULTS:
            raise ValueError(f"model-config.yaml: handler has the unknown option {key}; known: {', '.join(_DEFAULTS)}")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise ValueError(f"model-config.yaml: handler.{key} must be one of {', '.join(_CHOICES[key])}")
        low, high = _SPANS.get(key, (0, 0))
        if key in _SPANS and (type(value) is not int or not low <= value <= high):
            raise ValueError(f"model-config.yaml: handler.{key} must be a whole number from {low} to {high}")
        if key not in _SPANS and not isinstance(value, str):
            raise ValueError(f"model-config.yaml: handler.{key} must be a text, not {value!r}")
    return {**_DEFAULTS, **said}


def pooling_of(folder: Path, wanted: str) -> str:
    """Return `mean` or `cls`: what is wanted or, for `auto`, what the model was trained with. Raises ValueError."""
    if wanted != "auto":
        return wanted
    said = _said(folder / "1_Pooling" / "config.json")
    modes = [key for key, value in said.items() if key.startswith("pooling_mode") and value is True]
    if modes in ([], ["pooling_mode_mean_tokens"]):
        return "mean"
    if modes == ["pooling_mode_cls_token"]:
        return "cls"
    raise ValueError(
        f"{folder} pools by {', '.join(modes)}: this handler does by mean or cls, which handler.pooling says"
    )


def longest_of(folder: Path, config: Any, tokenizer: Any) -> int:
    """Return how many tokens a text may have, the special ones included."""
    positions = getattr(config, "max_position_embeddings", None) or 2**31
    if any(kind in config.model_type for kind in _OFFSET_POSITIONS):
        positions -= (config.pad_token_id or 0) + 1
    said = _said(folder / "sentence_bert_config.json").get("max_seq_length")
    return int(min(positions, tokenizer.model_max_length, said if type(said) is int and said > 0 else positions))


def _said(path: Path) -> Mapping[str, Any]:
    """Return the JSON object in a small file: an empty one if there is none. Raises ValueError."""
    if not path.is_file():
        return {}
    if path.stat().st_size > _SMALL:
        raise ValueError(f"{path} has more than {_SMALL} bytes")
    found = json.loads(path.read_bytes())
    return found if isinstance(found, dict) else {}


def _written(vector: np.ndarray[Any, Any], request: EmbeddingRequest) -> Any:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if request.base64 else vector
