"""A packet is parsed in slices, and the rest of it waits while other connections have their turn."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from torchserve.http.message.limits import Limits
from torchserve.http.transport.aiohttp_protocol import _SLICE, AiohttpProtocol
from torchserve.http.transport.aiohttp_server import AiohttpServer

from ..doubles import connect, head_and_body, running_front
from ..predict.test_prediction import Harness
from .test_hostile import SOON, chunk, head

HASTY = Limits(turn=0.0)  # one slice in a turn; the first is the head
CHUNKED = head("/predictions/m", "Transfer-Encoding: chunked")


class Wire(asyncio.Transport):
    """A transport that nothing comes through by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = True
        self.closing = False

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


def connection(limits: Limits = HASTY) -> tuple[AiohttpProtocol, Wire]:
    async def handler(request: Any) -> Any:
        """Reads nothing, and never answers."""
        await asyncio.get_running_loop().create_future()

    made = AiohttpServer(handler, Harness(limits).context, asyncio.Protocol)()
    assert isinstance(made, AiohttpProtocol)
    wire = Wire()
    made.connection_made(wire)
    return made, wire


async def test_a_slice_in_each_turn_of_the_loop() -> None:
    """Chunks of one byte: each slice's chunks are parsed in a turn of their own, and nothing is read meanwhile."""
    made, wire = connection()
    made.data_received(CHUNKED + chunk(b"x") * 4000)
    parsed = [made.received]
    while not wire.reads:
        assert made.busy
        await asyncio.sleep(0)
        parsed.append(made.received)
    assert parsed[-1] == len(CHUNKED) + 4000 * 6
    steps = [after - before for before, after in zip([0, *parsed], parsed, strict=False)]
    assert max(steps) == _SLICE
    assert len(steps) >= 3
    made.connection_lost(None)


async def test_what_comes_meanwhile_waits_behind_it() -> None:
    made, wire = connection()
    made.data_received(CHUNKED + chunk(b"x") * 3000)
    made.data_received(chunk(b"y") * 10)
    assert made.received == len(CHUNKED)
    while not wire.reads:
        await asyncio.sleep(0)
    assert made.received == len(CHUNKED) + 3010 * 6
    made.connection_lost(None)


async def test_a_body_that_nobody_reads_waits_unparsed() -> None:
    """aiohttp's reader is full at 128 KiB. What is parsed then is that and a slice; it goes on when somebody reads."""
    made, wire = connection(Limits(turn=60.0))
    made.data_received(CHUNKED + chunk(b"x" * 1000) * 1500)
    await asyncio.sleep(0)
    first = made.received
    assert first < 160_000
    assert not wire.reads
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert made.received == first
    request = made._current_request
    assert request is not None
    got = 0
    while got < 1_500_000:
        got += len(await request.content.readany())
    assert made.received == len(CHUNKED) + 1500 * 1007
    made.connection_lost(None)


async def test_chunks_that_nobody_reads_are_few() -> None:
    """All that are there are read at once, which takes time for each of them."""
    made, wire = connection(Limits(turn=60.0))
    made.data_received(CHUNKED + chunk(b"x" * 16) * 20_000)
    assert not wire.reads
    assert made.received < 4096 * len(chunk(b"x" * 16)) + 2 * _SLICE
    made.connection_lost(None)


async def test_nothing_is_parsed_behind_a_refusal() -> None:
    made, _ = connection()
    made.data_received(CHUNKED + chunk(b"x") * 8000)
    made.refuse()
    for _ in range(20):
        await asyncio.sleep(0)
    assert made.received == len(CHUNKED)
    made.data_received(chunk(b"x") * 100)
    assert made.received == len(CHUNKED)
    made.connection_lost(None)


async def test_nothing_is_parsed_behind_what_is_malformed() -> None:
    made, _ = connection(Limits(turn=60.0))
    made.data_received(CHUNKED + b"zz\r\n" + b"x" * 100_000)
    assert made.received == len(CHUNKED) + _SLICE
    made.data_received(b"x" * 1000)
    assert made.received == len(CHUNKED) + _SLICE
    made.connection_lost(None)


async def test_a_client_that_has_gone_is_not_parsed() -> None:
    made, _ = connection()
    made.data_received(CHUNKED + chunk(b"x") * 8000)
    made.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert made.received == len(CHUNKED)


@pytest.mark.parametrize("limits", [HASTY, Limits()])
@pytest.mark.parametrize(("least", "most"), [(12, 40), (1, 5000), (60_000, 70_000)])
async def test_chunks_of_any_size_come_out_whole(limits: Limits, least: int, most: int) -> None:
    drawn = random.Random(least)
    pieces = [drawn.randbytes(drawn.randint(least, most)) for _ in range(600_000 // most)]
    async with running_front(limits=limits) as h, connect(h.port()) as (reader, writer):
        body = b"".join(map(chunk, pieces))
        writer.write(head("/predictions/m", "Transfer-Encoding: chunked", "Connection: close") + body + b"0\r\n\r\n")
        lines, answer = head_and_body(await asyncio.wait_for(reader.read(), SOON))
    assert lines[0] == "HTTP/1.1 200 "
    assert answer == b"".join(pieces)


@pytest.mark.parametrize("limits", [HASTY, Limits()])
async def test_many_requests_in_one_packet_are_all_answered_in_order(limits: Limits) -> None:
    number = 500
    ask = b"".join(
        head(f"/predictions/m?n={at}", "Transfer-Encoding: chunked") + chunk(b"%d" % at) + b"0\r\n\r\n"
        for at in range(number)
    )
    last = head("/predictions/m", "Content-Length: 3", "Connection: close") + b"end"
    async with running_front(limits=limits) as h, connect(h.port()) as (reader, writer):
        writer.write(ask + last)
        said = await asyncio.wait_for(reader.read(), SOON)
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in said.split(b"HTTP/1.1 200 ")[1:]]
    assert bodies == [*(b"%d" % at for at in range(number)), b"end"]


@pytest.mark.parametrize(
    ("framed", "refused"),
    [
        (chunk(b"x") * 20_000, True),
        (chunk(b"x" * 4) * 40_000, True),
        (b"1;" + b"e" * 3000 + b"\r\nx\r\n" + (b"1;" + b"e" * 3000 + b"\r\nx\r\n") * 30, True),
        (chunk(b"x") * 10_000, False),
        (chunk(b"x" * 16) * 40_000, False),
    ],
)
async def test_how_much_framing_a_body_may_have(framed: bytes, refused: bool) -> None:
    async with running_front(limits=replace(HASTY, linger=0.2)) as h, connect(h.port()) as (reader, writer):
        writer.write(head("/predictions/m", "Transfer-Encoding: chunked", "Connection: close"))
        writer.write(framed + b"0\r\n\r\n")
        lines, _ = head_and_body(await asyncio.wait_for(reader.read(), SOON))
    assert lines[0] == ("HTTP/1.1 400 Bad Request" if refused else "HTTP/1.1 200 ")
