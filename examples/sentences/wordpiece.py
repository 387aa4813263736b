"""WordPiece, BERT's tokenizer for lower-case English models: from a text to the numbers of its pieces."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

_LONGEST_WORD = 100
_DROPPED = {"Cc", "Cf", "Co"}  # control characters and the like
_CHINESE = (  # code points of ideographs, each of which is a word
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    """A tokenizer. `vocabulary` is a file with one piece per line; a piece that continues a word begins with ##."""

    def __init__(self, vocabulary: Path) -> None:
        pieces = vocabulary.read_text(encoding="utf-8").splitlines()
        self._numbers = {piece: number for number, piece in enumerate(pieces)}

    def encode(self, text: str, longest: int) -> list[int]:
        """Return the numbers of [CLS], the text's pieces and [SEP], at most `longest`. Further pieces are left out."""
        numbers = [number for word in _words(text) for number in self._pieces(word)]
        return [self._numbers["[CLS]"], *numbers[: longest - 2], self._numbers["[SEP]"]]

    def _pieces(self, word: str) -> list[int]:
        """Return the longest known pieces of a word from left to right, or one [UNK] if they don't make up the word."""
        found: list[int] = []
        start = 0
        while start < len(word) <= _LONGEST_WORD:
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self._numbers), None)
            if end is None:
                return [self._numbers["[UNK]"]]
            found.append(self._numbers[prefix + word[start:end]])
            start = end
        return found or [self._numbers["[UNK]"]]


def _words(text: str) -> Iterator[str]:
    """Yield the words in lower case, without accents, cut at blanks and around each punctuation mark and ideograph."""
    word = ""
    for mark in _plain(text):
        if mark.isspace() or _stands_alone(mark):
            if word:
                yield word
            word = ""
            if not mark.isspace():
                yield mark
        else:
            word += mark
    if word:
        yield word


def _plain(text: str) -> str:
    marks = (" " if mark in "\t\n\r" or unicodedata.category(mark) == "Zs" else mark for mark in text)
    kept = "".join(mark for mark in marks if mark != "\ufffd" and unicodedata.category(mark) not in _DROPPED)
    letters = (mark for mark in unicodedata.normalize("NFD", kept) if unicodedata.category(mark) != "Mn")
    return "".join(letters).lower()


def _stands_alone(mark: str) -> bool:
    code = ord(mark)
    ascii_punctuation = mark.isascii() and mark.isprintable() and not mark.isalnum()
    punctuation = ascii_punctuation or unicodedata.category(mark).startswith("P")
    return punctuation or any(first <= code <= last for first, last in _CHINESE)
