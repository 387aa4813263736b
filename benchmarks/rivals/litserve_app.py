"""The workload's handler in LitServe; runs in LitServe's environment: `litserve_app.py PORT`.

LitServe parses bodies as JSON, so the bodies are JSON.
"""

# pyright: reportMissingImports=false
# Without `from __future__ import annotations`: LitServe reads the annotations of decode_request.
import json
import sys
from typing import Any

import litserve
from fastapi import Request, Response
from serving import BATCH, MILLISECONDS, Handler


class Served(litserve.LitAPI):
    """A service from JSON to the same bytes."""

    def setup(self, device: str) -> None:
        self._handler = Handler()

    def decode_request(self, request: Request) -> bytes:
        return json.dumps(request).encode()

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, x: list[bytes]) -> list[Any]:
        return self._handler.answers(x)

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> Response:
        return Response(output)


if __name__ == "__main__":
    api = Served(max_batch_size=BATCH, batch_timeout=MILLISECONDS / 1e3)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
