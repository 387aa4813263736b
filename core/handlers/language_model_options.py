"""LanguageModelOptions: what `handler:` in a language model's model-config.yaml may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

_SPANS = {
    "memory_tokens": (64, 2**31 - 1),
    "batch_tokens": (1, 2**31 - 1),
    "max_sequences": (1, 1024),
    "max_waiting": (0, 2**31 - 1),
    "threads": (0, 1024),
}
_DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class LanguageModelOptions:
    """The options of a language model.

    `model_path` is the folder with config, tokenizer and weights, absolute or relative to the archive; `gguf_file` a
    file in it. `memory_tokens` fit into the KV memory, and a step computes at most `batch_tokens`. A request may ask
    for `max_sequences`; with `max_waiting` sequences waiting in the engine, requests are refused. `threads` compute on
    a CPU, all cores if 0.
    """

    model_path: str = "."
    gguf_file: str = ""
    dtype: str = "auto"
    memory_tokens: int = 16384
    batch_tokens: int = 512
    max_sequences: int = 16
    max_waiting: int = 256
    threads: int = 0

    @classmethod
    def read(cls, said: Any) -> Self:
        """Return the options in `said`. Raises ValueError that names the key."""
        if not isinstance(said, Mapping):
            raise ValueError(f"model-config.yaml: handler must be a table of options, not {said!r}")  # noqa: TRY004
        known = {field.name: field.type for field in fields(cls)}
        unknown = sorted(str(key) for key in said if key not in known)
        if unknown:
            raise ValueError(
                f"model-config.yaml: handler has the unknown options {', '.join(unknown)}; known: {', '.join(known)}"
            )
        for key, value in said.items():
            span = _SPANS.get(key)
            if span is not None and (type(value) is not int or not span[0] <= value <= span[1]):
                low, high = span
                raise ValueError(
                    f"model-config.yaml: handler.{key} must be a whole number from {low} to {high}, not {value!r}"
                )
            if span is None and not isinstance(value, str):
                raise ValueError(f"model-config.yaml: handler.{key} must be a text, not {value!r}")
        if said.get("dtype", "auto") not in _DTYPES:
            raise ValueError(f"model-config.yaml: handler.dtype must be one of {', '.join(_DTYPES)}")
        return cls(**said)
