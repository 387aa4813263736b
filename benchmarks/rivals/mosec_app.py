"""The workload's handler in mosec; runs in mosec's environment: `mosec_app.py --address 127.0.0.1 --port PORT`."""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

from mosec import Server, Worker
from serving import BATCH, MILLISECONDS, Handler


class Served(Worker):
    """A worker from bytes to bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._handler = Handler()

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[Any]:
        return self._handler.answers(data)

    def serialize(self, data: Any) -> bytes:
        return data


if __name__ == "__main__":
    server = Server()
    server.append_worker(Served, num=1, max_batch_size=BATCH, max_wait_time=MILLISECONDS)
    server.run()
