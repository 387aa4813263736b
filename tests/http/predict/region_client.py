"""A client of a front that leaves tensors in shared memory, and a model for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from torchserve.core.oip.infer_answer import InferAnswer, reply_of
from torchserve.core.oip.infer_request import Tensor
from torchserve.core.oip.rest import LENGTH_HEADER
from torchserve.core.payload import Payload
from torchserve.http.message.limits import Limits

from ...descriptors import open_paths
from ..doubles import FakeDataPlane, RunningFront, Sink, running_front

SHM = Path("/dev/shm")
INFER = "/v2/models/m/infer"


def held(key: str) -> int:
    """How many descriptors of this process are open on a shared memory."""
    return len(open_paths(key))


class Client:
    """A client of a front that speaks JSON."""

    def __init__(self, front: RunningFront, session: aiohttp.ClientSession) -> None:
        self.front = front
        self.session = session

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        data = body if isinstance(body, bytes) else json.dumps(body)
        url = self.front.url(path)
        headers = {"Content-Type": "application/json"} | headers
        async with self.session.request(method, url, data=None if body is None else data, headers=headers) as answer:
            text = await answer.read()
            length = answer.headers.get(LENGTH_HEADER)
            return answer.status, json.loads(text if length is None else text[: int(length)])

    async def register(self, name: str, key: str, size: int = 64, offset: int = 0) -> tuple[int, Any]:
        said = {"key": key, "offset": offset, "byte_size": size}
        return await self.ask("POST", f"/v2/systemsharedmemory/region/{name}/register", said)

    async def infer(self, *inputs: dict[str, Any], outputs: Any = None) -> tuple[int, Any]:
        said = {"inputs": list(inputs)} | ({} if outputs is None else {"outputs": outputs})
        return await self.ask("POST", INFER, said)


@asynccontextmanager
async def client(
    data: FakeDataPlane | None = None, limits: Limits | None = None, **options: Any
) -> AsyncIterator[Client]:
    async with running_front(limits, data, **options) as front, aiohttp.ClientSession() as session:
        yield Client(front, session)


def doubles(payload: Payload, sink: Sink) -> None:
    """Answer on the next turn of the loop with output `y`, the bytes of the first input, as raw bytes."""
    made = reply_of(
        InferAnswer("m", "1.0", "", (Tensor("y", "UINT8", (len(payload.parts[0].body),), payload.parts[0].body),))
    )
    asyncio.get_running_loop().call_soon(sink.done, made)


def there(region: str, size: int, offset: int = 0) -> dict[str, Any]:
    parameters = {"shared_memory_region": region, "shared_memory_byte_size": size}
    return parameters | ({"shared_memory_offset": offset} if offset else {})


def x(region: str, size: int, offset: int = 0) -> dict[str, Any]:
    return {"name": "x", "datatype": "UINT8", "shape": [size], "parameters": there(region, size, offset)}
