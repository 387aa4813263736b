"""Cleaning and splitting of English texts: contractions, accents, markup, tokens, n-grams.

A text must be split exactly as it was when the model's vocabulary was built, oddities included, otherwise its tokens
are not found.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

CLEANUP_REGEX = re.compile("<.*?>|&([a-z0-9]+|#[0-9]{1,6}|#x[0-9a-f]{1,6});")

# Each ending with what it stands for, and the words with which it is expanded.
_ENDINGS = {
    "n't": (
        "not",
        "are could did does do had has have is may might must need ought should was were would",
    ),
    "'ve": ("have", "could i might must should so they to we what when where who why will would you"),
    "'d": ("would", "he i it she that there they we you"),
    "'ll": ("will", "he how i it she they we what who you"),
    "'s": ("is", "he how it she that there what when where who why"),
    "'m": ("am", "i"),
    "'re": ("are", "they we what you"),
}
_BY_THEMSELVES = {
    "ain't": "is not",
    "can't": "cannot",
    "'cause": "because",
    "how'd": "how did",
    "let's": "let us",
    "ma'am": "madam",
    "o'clock": "of the clock",
    "shan't": "shall not",
    "sha'n't": "shall not",
    "so's": "so as",
    "where'd": "where did",
    "won't": "will not",
    "y'all": "you all",
}
CONTRACTION_MAP: dict[str, str] = _BY_THEMSELVES | {
    word + ending: f"{word} {meaning}" for ending, (meaning, words) in _ENDINGS.items() for word in words.split()
}
# Contractions are expanded inside of longer words as well, and the leftmost first.
_CONTRACTION = re.compile("|".join(map(re.escape, CONTRACTION_MAP)), re.IGNORECASE)
_SPACE = re.compile(r"<br />|[;:]")
_APART = re.compile(r"(['.,()!?])")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def expand_contractions(text: str) -> str:
    """Replace contractions such as `don't` by `do not`, keep the case of the first character, and remove other
    apostrophes.
    """
    return _CONTRACTION.sub(lambda found: found[0][0] + CONTRACTION_MAP[found[0].lower()][1:], text).replace("'", "")


def remove_accents(text: str) -> str:
    """Replace accented letters by plain ones, and remove all other characters that are not ASCII."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def remove_markup(text: str) -> str:
    """Remove HTML tags and entities."""
    return CLEANUP_REGEX.sub("", text)


def remove_punctuation(text: str) -> str:
    return text.translate(_NO_PUNCTUATION)


def basic_english(line: str) -> list[str]:
    """Return the tokens of a line: words in lower case, and each of . , ( ) ! ? ' by itself."""
    return _APART.sub(r" \1 ", _SPACE.sub(" ", line.lower().replace('"', ""))).split()


def get_tokenizer(tokenizer: Any, language: str = "en") -> Callable[[str], list[str]] | None:
    """Return `basic_english`, a function that splits at spaces if `name` is None, or None for any other name.

    Raises ValueError for basic_english in another language than English.
    """
    if tokenizer is None:
        return str.split
    if tokenizer != "basic_english":
        return None
    if language != "en":
        raise ValueError(f"basic_english is for English (en), not for {language!r}")
    return basic_english


def ngrams_iterator(token_list: Sequence[str], ngrams: int) -> Iterator[str]:
    """Yield each token, then each two neighbours joined by a space, and so on up to `ngrams` tokens."""
    for count in range(1, ngrams + 1):
        for start in range(len(token_list) - count + 1):
            yield " ".join(token_list[start : start + count])
