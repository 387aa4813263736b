"""The models: each translates word by word, into the language that its archive's words.json knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ts.context import Context


class Translate:
    """A handler without a framework: a dictionary is its model."""

    def initialize(self, context: Context) -> None:
        """Load the dictionary of the archive."""
        folder = Path(context.system_properties["model_dir"])
        self.words: dict[str, str] = json.loads((folder / "words.json").read_text())

    def handle(self, data: list[dict[str, Any]], context: Context) -> list[str]:
        """Return the translation of each request of the batch."""
        texts = [bytes(row["body"]).decode() for row in data]
        return [" ".join(self.words.get(word, word) for word in text.split()) for text in texts]
