"""FastHttpProtocol: bodies of many pieces are received into one buffer, which grows with what has come."""

from __future__ import annotations

import pytest

from ..doubles import answer, connect, post, running_front, until


@pytest.mark.parametrize("length", [300_000, 1_000_000, 1_500_001])
async def test_a_large_body_is_one_buffer_whatever_its_pieces_were(length: int) -> None:
    sent = bytes(range(251)) * (length // 251) + b"z" * (length % 251)
    async with running_front() as h, connect(h.port()) as (reader, writer):
        for _ in range(2):  # the second on the same connection, with the first of a third behind it
            writer.write(post("/predictions/m", sent) + post("/predictions/m", b"small"))
            await writer.drain()
            assert (await answer(reader))[1] == sent
            assert (await answer(reader))[1] == b"small"
        assert len(h.front._fast_factories[0].connections) == 1
        assert isinstance(h.data.payloads[0].parts[0].body, bytearray)


async def test_a_body_is_received_where_its_model_wants_it() -> None:
    sent = bytes(range(250)) * 4000
    async with running_front() as h, connect(h.port()) as (reader, writer):
        place = bytearray(len(sent))
        h.data.rooms.append(memoryview(place))
        writer.write(post("/predictions/m", sent) + post("/predictions/m", b"small"))
        assert (await answer(reader))[1] == sent == place
        assert (await answer(reader))[1] == b"small"
        assert h.data.payloads[0].parts[0].body.obj is place


async def test_a_length_that_is_only_said_costs_no_memory() -> None:
    async with running_front() as h, connect(h.port()) as (_, writer):
        writer.write(post("/predictions/m", b"abc", declared=6_000_000))
        await until(lambda: h.data.arriving)
        (connection,) = h.front._fast_factories[0].connections
        assert len(connection._arrival._body) <= 4096
