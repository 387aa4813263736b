"""The handler: it takes any file and answers which kind of file it is, by an ONNX model. It runs on TorchServe 0.12 as
well.

The model's input and the meaning of its scores are those of the package magika.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ts.torch_handler.base_handler import BaseHandler


class FileTypeHandler(BaseHandler):
    """A handler of files. BaseHandler opens model.onnx with onnxruntime, so `self.model` is an InferenceSession."""

    def initialize(self, context: Any) -> None:
        """Load the model and magika's own description of it."""
        super().initialize(context)
        text = Path(context.system_properties["model_dir"], "config.min.json").read_text()
        self.about: dict[str, Any] = json.loads(text)

    def preprocess(self, data: list[dict[str, Any]]) -> np.ndarray:
        """Return int32 [batch, 2048]: the first and the last 1024 bytes of each file, without surrounding blanks."""
        files = [row.get("data") or row.get("body") or b"" for row in data]
        return np.stack([self._ends(file.encode() if isinstance(file, str) else bytes(file)) for file in files])

    def _ends(self, file: bytes) -> np.ndarray:
        size, block = self.about["beg_size"], self.about["block_size"]
        ends = np.full(2 * size, self.about["padding_token"], np.int32)
        first = np.frombuffer(file[:block].lstrip()[:size], np.uint8)
        last = np.frombuffer(file[-block:].rstrip()[-size:], np.uint8)
        ends[: len(first)] = first
        ends[len(ends) - len(last) :] = last
        return ends

    def inference(self, data: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        """Return the probability of each kind: [batch, kinds]."""
        return self.model.run(["target_label"], {"bytes": data})[0]

    def postprocess(self, data: np.ndarray) -> list[dict[str, float]]:
        """Return the three most probable kinds of each file, the most probable first."""
        kinds = self.about["target_labels_space"]
        return [{kinds[at]: round(float(row[at]), 6) for at in np.argsort(-row)[:3]} for row in data]
