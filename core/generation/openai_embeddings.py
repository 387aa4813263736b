"""What a body in OpenAI's format asks an encoder for, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .openai_fields import Refused, is_tokens, object_of, sound, whole

MOST_INPUTS = 2048  # texts of one request, as at OpenAI


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A request for the vectors of `inputs`, each a text or its tokens, as numbers or in `base64`.

    `dimensions` is None if the client leaves the length of a vector to the model.
    """

    inputs: tuple[str | tuple[int, ...], ...]
    base64: bool = False
    dimensions: int | None = None


def read_embeddings(body: Any) -> EmbeddingRequest:
    """Read the body of a request for embeddings. Raises Refused."""
    body = object_of(body)
    given = body.get("input")
    inputs = [given] if isinstance(given, str) or is_tokens(given) else given
    if (
        not isinstance(inputs, list)
        or not inputs
        or not all(each and (isinstance(each, str) or is_tokens(each)) for each in inputs)
    ):
        raise Refused("'input' must be a text, a list of texts, tokens, or a list of those, and none empty.", "input")
    if len(inputs) > MOST_INPUTS:
        raise Refused(f"'input' has {len(inputs)} texts, more than {MOST_INPUTS}.", "input")
    encoding = body.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise Refused("'encoding_format' must be 'float' or 'base64'.", "encoding_format")
    return EmbeddingRequest(
        tuple(sound(each, "input") if isinstance(each, str) else tuple(each) for each in inputs),
        encoding == "base64",
        whole(body, "dimensions", None, 2**31 - 1),
    )
