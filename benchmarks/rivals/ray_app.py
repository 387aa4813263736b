"""The workload's handler in Ray Serve; runs in Ray's environment: `ray_app.py PORT`."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
# Without `from __future__ import annotations`: Ray Serve reads the annotations of __call__.
import signal
import sys
from typing import Any

from ray import serve
from serving import BATCH, MILLISECONDS, Handler
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(num_replicas=1, max_ongoing_requests=4 * BATCH)
class Served:
    """A deployment from bytes to bytes. By default a replica takes five requests at a time, too few for a batch."""

    def __init__(self) -> None:
        self._handler = Handler()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=MILLISECONDS / 1e3)
    async def _many(self, bodies: list[bytes]) -> list[Any]:
        return self._handler.answers(bodies)

    async def __call__(self, request: Request) -> Response:
        return Response(await self._many(await request.body()))


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Served.bind(), name="served", route_prefix="/predict")
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    serve.shutdown()
