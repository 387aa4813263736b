"""decoder_of: the function that turns tokens into text, called twice for each token that a language model generates."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any


def decoder_of(tokenizer: Any) -> Callable[[Sequence[int]], str]:
    """Return the function from a list of tokens to its text, without special tokens, as `tokenizer.decode` does it.

    Most tokenizers are of the Rust library `tokenizers`. transformers' `decode` hands them the tokens unchanged, after
    checks that take several times as long as the decoding: so theirs is taken, unless the tokenizer has one of its own.
    """
    module = sys.modules.get("transformers.tokenization_utils_tokenizers")  # loaded if the tokenizer is one of its own
    backend: Any = getattr(module, "TokenizersBackend", _Unknown)
    kind: Any = type(tokenizer)
    # Whether neither is overridden.
    if isinstance(tokenizer, backend) and kind.decode is backend.decode and kind._decode is backend._decode:  # noqa: SLF001
        return partial(tokenizer.backend_tokenizer.decode, skip_special_tokens=True)
    return partial(tokenizer.decode, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class _Unknown:
    """A stand-in for transformers' class while that is not loaded: no tokenizer is one of it."""
