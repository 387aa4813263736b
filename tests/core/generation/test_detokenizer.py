"""decoder_of: text as the tokenizer's own decode makes it, whichever way it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from torchserve.core.generation.detokenizer import decoder_of

from .tiny_model import END, save_tiny_model

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return transformers.AutoTokenizer.from_pretrained(str(folder))


def test_the_text_is_the_tokenizers(tokenizer: Any) -> None:
    decode = decoder_of(tokenizer)
    for text in ("the sea", " a  b ", "h\u00e9, \u20ac!", ""):
        tokens = [*tokenizer.encode(text), END]
        assert decode(tokens) == tokenizer.decode(tokens, skip_special_tokens=True) == text
    assert decode(tokenizer.encode("\u20ac")[:2]) == "\ufffd"


def test_a_tokenizer_with_a_decode_of_its_own_is_asked(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loud(type(tokenizer)):
        def _decode(self, *arguments: Any, **more: Any) -> str:
            return super()._decode(*arguments, **more).upper()

    monkeypatch.setattr(tokenizer, "__class__", Loud)
    assert decoder_of(tokenizer)(tokenizer.encode("sea")) == "SEA"


def test_a_tokenizer_of_another_kind_is_asked() -> None:
    class Bytes:
        def decode(self, tokens: Any, **_: Any) -> str:
            return bytes(tokens).decode()

    assert decoder_of(Bytes())([*b"sea"]) == "sea"
