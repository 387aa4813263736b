"""A handler for the calls of benchmarks.grpc: bytes and a tensor that come back, the means of an image, a stream."""  # noqa: INP001

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

PIECES = 7


class Calls:
    """A handler without a base class. It runs in TorchServe, here, and behind Triton's Python backend.

    What a request asks for is seen from its inputs' names, and all requests of a batch ask for the same.
    """

    def initialize(self, context: object) -> None:
        self.context = context

    def handle(self, data: Sequence[dict[str, Any]], context: Any) -> list[Any]:
        first = data[0]
        if "image" in first:
            return [{"means": row["image"].mean(axis=(2, 3), dtype=np.float32)} for row in data]
        if "IN" in first:
            return [{"OUT": row["IN"]} for row in data]
        bodies = [row["data"] if "data" in row else row["body"] for row in data]
        return self._stream(len(data), context) if bytes(bodies[0][:6]) == b"stream" else bodies

    def _stream(self, count: int, context: Any) -> list[str]:
        # Whichever server runs this has it.
        from ts.handler_utils.utils import send_intermediate_predict_response  # pyright: ignore[reportAttributeAccessIssue]

        for number in range(PIECES):
            send_intermediate_predict_response(
                [f"piece {number} "] * count, context.request_ids, "Intermediate", 200, context
            )
        return ["end"] * count
