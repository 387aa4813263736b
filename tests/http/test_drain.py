"""A drain: what was sent ahead is answered, and nothing that makes no progress is waited for."""

from __future__ import annotations

import asyncio

import pytest

from torchserve.core.payload import Reply
from torchserve.http.front import Front
from torchserve.http.message.limits import Limits

from .doubles import SOON, FakeDataPlane, Sink, answer, connect, post, running_front, until

WAYS = pytest.mark.parametrize("method", ["POST", "GET"])  # the one is read by fast_http.py, the other by aiohttp
LIMITS = Limits(drain_idle=0.2)  # the others would take 30 s and more


@WAYS
@pytest.mark.parametrize("body", [b"", b"x" * 5000])
async def test_requests_that_were_sent_ahead_are_answered_and_the_last_says_so(method: str, body: bytes) -> None:
    sinks: list[Sink] = []
    async with running_front(LIMITS, FakeDataPlane(behave=lambda payload, sink: sinks.append(sink))) as h:
        async with connect(h.port()) as (reader, writer):
            writer.write(b"".join(post("/predictions/m", body, method=method) for _ in range(5)))
            await until(lambda: sinks)
            await until(lambda: h.front._busy())
            drain = asyncio.ensure_future(h.front.drain(SOON))
            for i in range(5):
                await until(lambda i=i: len(sinks) > i)
                sinks[i].done(Reply(b"%d" % i))
                lines, said = await answer(reader)
                assert said == b"%d" % i
                assert ("connection: close" in lines) == (i == 4)
            assert await asyncio.wait_for(reader.read(), SOON) == b""
            assert await drain
            assert [entry.status for entry in h.log] == [200] * 5


def read_on(front: Front) -> bool:
    """Return whether each connection has read a request behind the one that it is at, or reads nothing any more."""
    fast = [(each.more, each._transport) for factory in front._fast_factories for each in factory.connections]
    full = [(each.more, each.transport) for server in front._aiohttp_servers for each in server.connections]
    return all(more or transport is None or not transport.is_reading() for more, transport in fast + full)


@WAYS
async def test_who_goes_on_sending_ahead_does_not_hold_up_the_end(method: str) -> None:
    """No request is answered before the next one is here, or the server has stopped reading."""
    sinks: list[Sink] = []
    async with running_front(LIMITS, FakeDataPlane(behave=lambda payload, sink: sinks.append(sink))) as h:
        async with connect(h.port()) as (reader, writer):
            writer.write(post("/predictions/m", b"", method=method))
            await until(lambda: sinks)
            drain = asyncio.ensure_future(h.front.drain(SOON))
            await until(lambda: h.front._context.draining)
            answered = 0
            while not drain.done() and answered < 20:
                writer.write(post("/predictions/m", b"", method=method))
                await until(lambda: read_on(h.front))
                sinks[answered].done(Reply(b"ok"))
                answered += 1
                await until(lambda answered=answered: drain.done() or len(sinks) > answered)
            assert answered < 20
            assert await drain
            for i in range(answered):
                lines, said = await answer(reader)
                assert (said, "connection: close" in lines) == (b"ok", i == answered - 1)
            assert await asyncio.wait_for(reader.read(), SOON) == b""
            assert [entry.status for entry in h.log] == [200] * answered


@WAYS
@pytest.mark.parametrize("when", ["before", "behind"])
async def test_a_body_that_stalls_is_408_at_once(method: str, when: str) -> None:
    async with running_front(LIMITS) as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", b"half", declared=100, method=method))
        await until(lambda: h.data.arriving)
        if when == "behind":
            writer.write(b"more")
        assert await h.front.drain(SOON)
        lines, _ = await answer(reader)
        assert "408" in lines[0]
        assert "connection: close" in lines


@WAYS
async def test_a_body_that_goes_on_coming_is_waited_for(method: str) -> None:
    async with running_front(Limits(drain_idle=5.0)) as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", b"", declared=30, method=method))
        await until(lambda: h.data.arriving)
        drain = asyncio.ensure_future(h.front.drain(SOON))
        for _ in range(30):
            await asyncio.sleep(0.01)
            writer.write(b"x")
        lines, body = await answer(reader)
        assert (body, "connection: close" in lines) == (b"x" * 30, True)
        assert await drain


@WAYS
async def test_an_answer_that_nobody_takes_is_given_up(method: str) -> None:
    def big(payload: object, sink: Sink) -> None:
        asyncio.get_running_loop().call_soon(sink.done, Reply(bytes(30_000_000)))

    async with running_front(LIMITS, FakeDataPlane(behave=big)) as h, connect(h.port()) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(post("/predictions/m", b"", method=method))
        await until(lambda: h.front._context.unsent.size)
        assert await h.front.drain(SOON)
        assert not h.front._context.unsent.size
