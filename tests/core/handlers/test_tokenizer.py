"""Texts into words: the oddities of the vocabularies that are out there, kept."""

from __future__ import annotations

import pytest

from torchserve.core.handlers import tokenizer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm sure they're here", "I am sure they are here"),
        ("DON'T", "Do not"),
        ("won't can't shan't", "will not cannot shall not"),
        ("ain't", "as not"),  # the first character stays
        ("'cause y'all", "ecause you all"),
        ("should've couldn't've", "should have could notve"),  # the shorter one is found first
        ("the'd", "the would"),  # also inside a word
        ("rock 'n' roll's", "rock n rolls"),
        ("how'd where'd he'd", "how did where did he would"),
    ],
)
def test_contractions(text: str, expected: str) -> None:
    assert tokenizer.expand_contractions(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>fine</b> &amp; good&#33;", "fine  good"),
        ("a < b > c", "a  c"),
        ("&unknown", "&unknown"),
    ],
)
def test_markup(text: str, expected: str) -> None:
    assert tokenizer.remove_markup(text) == expected


def test_cleaning() -> None:
    assert tokenizer.remove_accents("Crème brûlée, façade 漢") == "Creme brulee, facade "
    assert tokenizer.remove_punctuation('a-b, "c"!') == "ab c"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('He said: "Go (now), OK?"', ["he", "said", "go", "(", "now", ")", ",", "ok", "?"]),
        ("it's<br />2.5;3", ["it", "'", "s", "2", ".", "5", "3"]),
        ("", []),
    ],
)
def test_basic_english(line: str, expected: list[str]) -> None:
    assert tokenizer.basic_english(line) == expected


def test_get_tokenizer() -> None:
    assert tokenizer.get_tokenizer("basic_english") is tokenizer.basic_english
    split = tokenizer.get_tokenizer(None)
    assert split is not None
    assert split("A b") == ["A", "b"]
    assert tokenizer.get_tokenizer("spacy") is None
    with pytest.raises(ValueError, match="'de'"):
        tokenizer.get_tokenizer("basic_english", "de")


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, ["a", "b", "c"]),
        (2, ["a", "b", "c", "a b", "b c"]),
        (4, ["a", "b", "c", "a b", "b c", "a b c"]),
    ],
)
def test_ngrams(count: int, expected: list[str]) -> None:
    assert list(tokenizer.ngrams_iterator(["a", "b", "c"], count)) == expected
