"""The workload's handler in Triton's Python backend; it is copied to the model repository.

It is not named model.py, because many a model has a module of that name.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

import numpy
import triton_python_backend_utils as triton
from serving import Handler


class TritonPythonModel:
    """A model from bytes to bytes. Triton forms the batches: all requests that it passes to one call."""

    def initialize(self, _arguments: dict[str, str]) -> None:
        self._handler = Handler()

    def execute(self, requests: list[Any]) -> list[Any]:
        bodies = [triton.get_input_tensor_by_name(each, "IN").as_numpy().reshape(-1)[0] for each in requests]
        answers = self._handler.answers(bodies)
        return [
            triton.InferenceResponse([triton.Tensor("OUT", numpy.array([[answer]], dtype=object))])
            for answer in answers
        ]
