"""The handler: it continues a text word by word, and sends each word as soon as it is chosen. It runs on TorchServe
0.12 as well.

A handler may be any class with `initialize` and `handle`; this one has no base class and no network.
"""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path
from typing import Any

from ts.handler_utils.utils import send_intermediate_predict_response

MOST_WORDS = 200


class WordHandler:
    """A handler that chooses each next word among those that followed the last two words in the text of chain.json."""

    def initialize(self, context: Any) -> None:
        """Read chain.json."""
        folder = context.system_properties["model_dir"]
        self.follow: dict[str, list[str]] = json.loads(Path(folder, "chain.json").read_text())
        self.openings = [pair for pair in self.follow if pair[0].isupper()]

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Continue all texts of the batch together: each step sends each request its next word, or "" if it has ended.

        The last piece of each answer is returned.
        """
        tales = [self.tale(row) for row in data]
        for _ in range(MOST_WORDS):
            words = [next(tale, "") for tale in tales]
            if not any(words):
                break
            send_intermediate_predict_response(words, context.request_ids, "one word more", 200, context)
        return ["\n"] * len(data)

    def tale(self, row: dict[str, Any]) -> Any:
        """Yield the words, each with the blank before it. Equal seeds give equal words."""
        wish = _wish(row)
        dice = random.Random(wish.get("seed", 0))  # noqa: S311  nothing is secret here
        words = str(wish.get("text", "")).split()[-2:]
        if " ".join(words) not in self.follow:
            words = dice.choice(self.openings).split()
            yield " ".join(words)
        length = wish.get("words")
        for _ in range(length if isinstance(length, int) else 30):
            word = dice.choice(self.follow.get(" ".join(words), [""]))
            if not word:
                return
            yield f" {word}"
            words = [words[1], word]


def _wish(row: dict[str, Any]) -> dict[str, Any]:
    """Return a request as {"text", "words", "seed"}, each of which may be missing. A plain body is the text."""
    value = row.get("data") or row.get("body") or ""
    text = value.decode() if isinstance(value, bytes | bytearray) else value
    if isinstance(text, str) and text.startswith("{"):
        with contextlib.suppress(ValueError):  # then it is no JSON, but a text
            text = json.loads(text)
    return text if isinstance(text, dict) else {"text": text}
