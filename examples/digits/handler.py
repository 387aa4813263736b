"""The handler: it takes pictures and answers the digit on each. It runs on TorchServe 0.12 as it does here.

A picture that can't be read is answered with status 400; the other requests of its batch are answered as usual.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
import torch
from ink import SIZE, read_ink
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ts.torch_handler.base_handler import BaseHandler


class DigitHandler(BaseHandler):
    """A handler of digits. BaseHandler loads model.py, digits.pt and index_to_name.json."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: dict[int, str] = {}  # index in the batch: why the picture could not be read

    def initialize(self, context: Any) -> None:
        """Load the model and fold each batch norm into the convolution before it, which gives the same
        answers faster.
        """
        super().initialize(context)
        layers = list(self.model.features)
        for index, layer in enumerate(layers):
            if isinstance(layer, nn.BatchNorm2d):
                self.model.features[index - 1] = fuse_conv_bn_eval(layers[index - 1], layer)
                self.model.features[index] = nn.Identity()

    def preprocess(self, data: list[dict[str, Any]]) -> torch.Tensor:
        """Return ink maps [batch, 1, 28, 28] on the model's device, blank ones for refused pictures."""
        self.refused = {}
        maps = np.zeros((len(data), 1, SIZE, SIZE), dtype=np.float32)
        for index, row in enumerate(data):
            try:
                maps[index, 0] = read_ink(_image_bytes(row))
            except ValueError as error:
                self.refused[index] = str(error)
        return torch.from_numpy(maps).to(self.device)

    def postprocess(self, data: torch.Tensor) -> list[dict[str, Any]]:
        """Return one answer for each request, in order."""
        rows = data.softmax(dim=1).cpu().tolist()
        return [self._refuse(index) if index in self.refused else self._answer(row) for index, row in enumerate(rows)]

    def _answer(self, row: list[float]) -> dict[str, Any]:
        names = self.mapping or {}
        digit = max(range(len(row)), key=row.__getitem__)
        return {
            "digit": digit,
            "name": names.get(str(digit), str(digit)),
            "probability": round(row[digit], 6),
            "probabilities": {str(each): round(share, 6) for each, share in enumerate(row)},
        }

    def _refuse(self, index: int) -> dict[str, Any]:
        self.context.set_response_status(400, "Bad Request", index)
        return {"code": 400, "type": "BadRequestException", "message": self.refused[index]}


def _image_bytes(row: dict[str, Any]) -> bytes:
    """Return the picture of a request: its body or first form field, as bytes, base64 text or {"image": base64}."""
    value = row.get("data") or row.get("body") or next(iter(row.values()), b"")
    if isinstance(value, dict):
        value = value.get("image", b"")
    if isinstance(value, str):
        try:
            # A browser's canvas gives "data:image/png;base64,...".
            return base64.b64decode(value.rpartition(",")[2], validate=True)
        except binascii.Error as error:
            raise ValueError("the text sent is not base64") from error
    if not isinstance(value, bytes | bytearray):
        raise ValueError(  # noqa: TRY004  a ValueError is what becomes a 400
            f"an image is expected, not JSON of type {type(value).__name__}"
        )
    return bytes(value)
