"""TextStream: turns growing lists of tokens into pieces of text, up to a stop string.

Two things are held back until they are certain. A token may be a part of a character, which decodes as U+FFFD until its
other parts have come. And text that could be the begin of a stop string must not be sent, as the stop string is not
part of the answer.

Decoding all tokens at each step would cost the square of their number. Decoding each alone would lose spaces, since
tokenizers decode a word differently at the begin of a text. So a window is decoded: the tokens of the last piece and
what has come since; what is new is what the window's text has beyond the last piece's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

_INCOMPLETE = "\ufffd"


class TextStream:
    """The text of one sequence. `text` is what was returned so far; `stopped` says that it met a stop string."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stops = tuple(stops)
        self._begin = 0  # where the window begins
        self._read = 0  # the tokens before it have been decoded
        self._held = ""
        self._pieces: list[str] = []
        self.stopped = False

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def add(self, tokens: Sequence[int]) -> str:
        """Return what is certain of the text of all `tokens` so far, beyond what was returned before."""
        return self._release(self._new(tokens, last=False), last=False)

    def finish(self, tokens: Sequence[int]) -> str:
        """Return the rest of the text, as no more tokens will come."""
        return self._release(self._new(tokens, last=True), last=True)

    def _new(self, tokens: Sequence[int], *, last: bool) -> str:
        if self._read == len(tokens):
            return ""
        before = self._decode(tokens[self._begin : self._read])
        window = self._decode(tokens[self._begin :])
        if window.endswith(_INCOMPLETE) and not last:
            return ""
        self._begin, self._read = self._read, len(tokens)
        return window[len(before) :]

    def _release(self, text: str, *, last: bool) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return self._keep(text[: min(found)])
        hold = 0 if last else max((overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - hold :]
        return self._keep(text[: len(text) - hold])

    def _keep(self, text: str) -> str:
        if text:
            self._pieces.append(text)
        return text


def overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that is a begin of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
