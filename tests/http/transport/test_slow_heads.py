"""A head that begins and does not come to its end is answered with 408, wherever its first bytes were read."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits

from ..doubles import SOON, FakeDataPlane, Sink, connect, head_and_body, running_front, until
from .test_hostile import HASTY, WAYS, chunk, drip, head

PATIENT = replace(HASTY, keep_alive=30.0)
BRIEF = replace(PATIENT, head=0.2)
UPGRADE = head("/ping", "Upgrade: websocket", "Connection: Upgrade", method="GET")
GET = head("/predictions/m", "Content-Length: 0", method="GET")
CHUNKED = head("/predictions/m", "Transfer-Encoding: chunked")


async def refused(reader: asyncio.StreamReader) -> None:
    """Read the last answer, which must be that of a slow head."""
    lines, body = head_and_body(await asyncio.wait_for(reader.read(), SOON))
    assert "408" in lines[0]
    assert "connection: close" in lines
    assert json.loads(body)["message"].startswith("The head of the request came too slowly: ")


@WAYS
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("drips", [False, True])
async def test_a_head_that_does_not_come_to_its_end_is_408(method: str, before: bool, drips: bool) -> None:
    async with running_front(PATIENT) as h, connect(h.port()) as (reader, writer):
        if before:
            writer.write(head("/predictions/m", "Content-Length: 0", method=method))
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)
        writer.write(f"{method} /pred".encode())
        dripping = asyncio.ensure_future(drip(writer, b"x" * 1000 if drips else b""))
        await refused(reader)
        dripping.cancel()
        assert h.log[-1].status == 408


@pytest.mark.parametrize(
    ("ahead", "limits"),
    [
        pytest.param(GET, BRIEF, id="GET"),
        pytest.param(CHUNKED + chunk(b"x") + b"0\r\n\r\n", BRIEF, id="chunks"),
        pytest.param(CHUNKED + b"0\r\n\r\n", BRIEF, id="no chunks"),
        pytest.param(UPGRADE, BRIEF, id="a refused upgrade"),
        pytest.param(head("/predictions/m", "Content-Length: 2") + b"ok", BRIEF, id="POST"),
        pytest.param(GET, replace(BRIEF, turn=0.0), id="in many turns"),
        pytest.param(GET, HASTY, id="a brief keep_alive"),
    ],
)
async def test_behind_a_request_in_one_packet(ahead: bytes, limits: Limits) -> None:
    """A brief keep_alive doesn't end a connection on which a head has begun."""
    async with running_front(limits) as h, connect(h.port()) as (reader, writer):
        writer.write(ahead + b"GET /pred")
        await asyncio.wait_for(reader.readuntil(b"HTTP/1.1 408"), SOON)
        assert (await asyncio.wait_for(reader.read(), SOON)).count(b"The head of the request came too slowly: ") == 1
        assert [entry.status for entry in h.log][1:] == [408]


async def test_while_a_request_is_answered() -> None:
    """The time in which it is answered does not count: the client may have to wait with what follows."""
    sinks: list[Sink] = []
    data = FakeDataPlane(behave=lambda payload, sink: sinks.append(sink))
    async with running_front(BRIEF, data) as h, connect(h.port()) as (reader, writer):
        writer.write(GET)
        await until(lambda: sinks)
        writer.write(b"GET /pred")
        (connection,) = h.front._aiohttp_servers[0].connections
        await until(lambda: connection.received > len(GET))
        await asyncio.sleep(2.5 * BRIEF.head)
        sinks[0].done(Reply(b""))
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)
        await refused(reader)


async def test_a_head_that_comes_whole_at_last_is_answered() -> None:
    sinks: list[Sink] = []

    def behave(payload: Payload, sink: Sink) -> None:
        sinks.append(sink)
        if len(sinks) > 1:
            asyncio.get_running_loop().call_soon(sink.done, Reply(b"second"))

    async with running_front(BRIEF, FakeDataPlane(behave=behave)) as h, connect(h.port()) as (reader, writer):
        writer.write(GET + GET[:20])
        await until(lambda: sinks)
        await asyncio.sleep(1.5 * BRIEF.head)
        writer.write(GET[20:-2] + b"Connection: close\r\n\r\n")
        sinks[0].done(Reply(b"first"))
        answers = await asyncio.wait_for(reader.read(), SOON)
        assert [part in answers for part in (b"first", b"second", b" 408 ")] == [True, True, False]
        assert len(h.log) == 2
