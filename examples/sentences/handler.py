"""The handler: it takes texts and answers vectors, which are near for texts of similar meaning. It runs on TorchServe
0.12 as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from wordpiece import WordPiece

from ts.torch_handler.base_handler import BaseHandler

LONGEST = 256  # pieces of a text that are read


class SentenceHandler(BaseHandler):
    """A handler of texts. BaseHandler loads model.py and minilm.pt."""

    def initialize(self, context: Any) -> None:
        """Load the model and its vocabulary."""
        super().initialize(context)
        self.pieces = WordPiece(Path(context.system_properties["model_dir"], "vocab.txt"))

    def preprocess(self, data: list[dict[str, Any]]) -> torch.Tensor:
        """Return token numbers [batch, longest text], 0 behind the end of a text. A refused request is an
        empty text.
        """
        self.refused: dict[int, str] = {}
        rows = []
        for index, row in enumerate(data):
            try:
                text = _text(row)
            except ValueError as error:
                self.refused[index], text = str(error), ""
            rows.append(torch.tensor(self.pieces.encode(text, LONGEST)))
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.device)

    def postprocess(self, data: torch.Tensor) -> list[Any]:
        """Return 384 numbers for each text. Their squares add up to 1."""
        return [
            self._refuse(index) if index in self.refused else vector for index, vector in enumerate(data.cpu().tolist())
        ]

    def _refuse(self, index: int) -> dict[str, Any]:
        self.context.set_response_status(400, "Bad Request", index)
        return {"code": 400, "type": "BadRequestException", "message": self.refused[index]}


def _text(row: dict[str, Any]) -> str:
    """Return the text of a request: its body or form field, plain or as {"text": ...}. Raises ValueError."""
    value = row.get("data") or row.get("body") or ""
    if isinstance(value, bytes | bytearray):
        value = value.decode()
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = json.loads(value)
    if isinstance(value, dict):
        value = value.get("text", "")
    if not isinstance(value, str) or not value.strip():
        raise ValueError('send a text, or JSON as {"text": "..."}')
    return value
