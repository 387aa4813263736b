"""The workload's own handler behind Triton's Python backend; copied to the model repository.

Not as model.py, which is the name of many a model's own module.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

import numpy
import triton_python_backend_utils as triton
from serving import Handler


class TritonPythonModel:
    """Bytes in, bytes out; Triton forms the batches, of as many requests as it hands over at once."""

    def initialize(self, _arguments: dict[str, str]) -> None:
        self._handler = Handler()

    def execute(self, requests: list[Any]) -> list[Any]:
        bodies = [triton.get_input_tensor_by_name(each, "IN").as_numpy().reshape(-1)[0] for each in requests]
        answers = self._handler.answers(bodies)
        return [
            triton.InferenceResponse([triton.Tensor("OUT", numpy.array([[answer]], dtype=object))])
            for answer in answers
        ]
