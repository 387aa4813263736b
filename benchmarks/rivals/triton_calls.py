"""The handler of the workload `calls` in Triton's Python backend: rows of tensors in, dicts of tensors out."""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
from typing import Any

import triton_python_backend_utils as triton
from serving import Handler


class TritonPythonModel:
    """A model whose handler gets each request as a dict of arrays, and returns such a dict."""

    def initialize(self, arguments: dict[str, str]) -> None:
        self._handler = Handler()
        self._names = [each["name"] for each in json.loads(arguments["model_config"])["input"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        rows = [
            {name: triton.get_input_tensor_by_name(each, name).as_numpy() for name in self._names} for each in requests
        ]
        return [
            triton.InferenceResponse([triton.Tensor(name, value) for name, value in answer.items()])
            for answer in self._handler.outputs(rows)
        ]
