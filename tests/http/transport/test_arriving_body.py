"""Bodies that are on their way: what they count and cost until they have come."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from ..doubles import SOON, FakeDataPlane, connect, head_and_body, post, running_front, until


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("api", ["inference", "management"])
async def test_bodies_on_their_way_count_and_the_one_that_is_too_much_is_refused_before_it_has_come(
    api: str, method: str
) -> None:
    path = "/predictions/m" if api == "inference" else "/models"
    async with running_front(data=FakeDataPlane(most=150_000)) as h, AsyncExitStack() as stack:
        others: list[asyncio.StreamWriter] = []
        for i in range(2):
            _, writer = await stack.enter_async_context(connect(h.port(api)))
            writer.write(post(path, b"x" * 40_000, declared=900_000, method=method))
            await until(lambda i=i: h.data.held >= 40_000 * (i + 1))
            others.append(writer)
        assert h.data.held <= 150_000, "no more than twice what has come"
        reader, writer = await stack.enter_async_context(connect(h.port(api)))
        writer.write(post(path, b"x" * 100_000, declared=900_000, method=method))
        lines, body = head_and_body(await asyncio.wait_for(reader.read(), SOON))
        assert lines[0].startswith("HTTP/1.1 503")
        assert "connection: close" in lines
        assert "max_pending_bytes" in json.loads(body)["message"]
        for writer in others:
            writer.transport.abort()
        await until(lambda: not h.data.held)
