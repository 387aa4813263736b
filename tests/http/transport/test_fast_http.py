"""A connection on the fast HTTP path: reused, handed over, sent ahead on, stalled, left, drained and stopped."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from dataclasses import replace
from time import monotonic

import pytest

from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits
from torchserve.http.transport.fast_http import FastHttpProtocol

from ..doubles import SOON, FakeDataPlane, RunningFront, Sink, answer, connect, post, running_front, until

SMALL = Limits(
    max_request_size=100_000, keep_alive=0.4, body_idle=0.3, body_grace=0.3, body_rate=100, linger=0.2, write_stall=0.3
)
MB = 1_000_000


def fast_connections(h: RunningFront) -> int:
    """How many connections are read by the fast path."""
    return len(h.front._fast_factories[0].connections)


def arrived(h: RunningFront) -> int:
    """Bytes of the one body that is on its way."""
    (connection,) = h.front._fast_factories[0].connections
    return connection._arrival.received if connection._arrival else 0


def holding() -> tuple[FakeDataPlane, list[Sink]]:
    """A dataplane that answers nothing by itself, and the sinks of what it was given."""
    sinks: list[Sink] = []
    return FakeDataPlane(behave=lambda payload, sink: sinks.append(sink)), sinks


# ---- one connection, many requests


async def test_a_connection_is_used_again_and_again() -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        for i in range(30):
            path = ("/predictions/m", "/predictions/m/1.0", "/explanations/m", "/predictions/nobody")[i % 4]
            writer.write(post(path, b"%d" % i, method=("POST", "PUT")[i % 2]))
            lines, body = await answer(reader)
            assert "connection: keep-alive" in lines
            assert body == b"%d" % i or path.endswith("nobody")
        assert fast_connections(h) == 1
        assert {payload.headers["explain"] for payload in h.data.payloads} == {"True", "False"}
        assert len(h.log) == 30


@pytest.mark.parametrize("cut", [1, 6, 25, 45, -3, -1])
async def test_a_head_in_two_pieces_is_read_all_the_same(cut: int) -> None:
    raw = post("/predictions/m", b"")
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(raw[:cut])
        await until(lambda: not fast_connections(h) and h.front._aiohttp_servers[0].connections)
        writer.write(raw[cut:] + post("/predictions/m", b"next"))
        assert [(await answer(reader))[1] for _ in range(2)] == [b"", b"next"]


async def test_a_body_in_pieces_with_the_next_request_behind_it() -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", b"ab", declared=6))
        await until(lambda: h.data.arriving)
        writer.write(b"cd")
        await until(lambda: arrived(h) == 4)
        writer.write(b"ef" + post("/predictions/m", b"second"))
        assert [(await answer(reader))[1] for _ in range(2)] == [b"abcdef", b"second"]
        assert (fast_connections(h), h.data.arrivals, h.data.arriving) == (1, 1, 0)


async def test_a_client_that_asks_for_it_is_let_go() -> None:
    async with running_front() as h:
        first, *_ = (await h.say(post("/predictions/m", b"x", "Connection: close") + post("/ping"))).split(b"\r\n")
        assert first == b"HTTP/1.1 200 "
        assert len(h.log) == 1  # nothing is read behind it


# ---- the hand-over


HANDED_OVER = {
    "another route": (b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", b"Healthy"),
    "another method": (b"PATCH /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
    "chunks": (
        b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n",
        b"hi",
    ),
    "no length": (b"POST /predictions/m HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "HTTP/1.0": (
        b"POST /predictions/m HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", b"hi",
    ),
    "many headers": (post("/predictions/m", b"hi", *(f"X{i}: y" for i in range(80))), b"hi"),
}  # fmt: skip


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("kind", HANDED_OVER)
async def test_in_the_middle_of_a_connection(kind: str, at_once: bool) -> None:
    raw, expected = HANDED_OVER[kind]
    async with running_front() as h, connect(h.port()) as (reader, writer):
        requests = [
            post("/predictions/m", b"one"),
            post("/predictions/m", b"two"),
            raw,
            post("/predictions/m", b"three"),
        ]
        bodies: list[bytes] = []
        if at_once:
            writer.write(b"".join(requests))
        for request in requests:
            if not at_once:
                writer.write(request)
            bodies.append((await answer(reader))[1])
        assert bodies[:2] + bodies[3:] == [b"one", b"two", b"three"]
        assert expected in bodies[2]
        assert fast_connections(h) == 0
        assert len(h.front._aiohttp_servers[0].connections) == 1


async def test_to_a_client_that_waits_for_a_go_ahead() -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", b"one"))
        await answer(reader)
        writer.write(post("/predictions/m", b"", "Expect: 100-continue", declared=3))
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"two")
        assert (await answer(reader))[1] == b"two"


async def test_of_what_is_no_request_is_answered_once_and_closed() -> None:
    async with running_front() as h:
        said = await h.say(post("/predictions/m", b"fine") + b"GARBAGE\r\n\r\n")
        assert said.count(b"HTTP/1.1 ") == 2
        assert json.loads(said.rpartition(b"\r\n\r\n")[2])["message"] == "Invalid HTTP message."
        assert [entry.status for entry in h.log] == [200, 400]


async def test_while_an_answer_is_still_due_waits_for_it() -> None:
    data, sinks = holding()
    async with running_front(data=data) as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", b"one") + b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: sinks)
        assert (fast_connections(h), len(h.log)) == (1, 0)
        sinks[0].done(Reply(b"first"))
        assert (await answer(reader))[1] == b"first"
        assert b"Healthy" in (await answer(reader))[1]
        assert fast_connections(h) == 0


# ---- clients that send ahead


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...


async def test_what_comes_between_two_requests_waits_for_its_turn() -> None:
    data, sinks = holding()
    async with running_front(data=data) as h:
        connection, wire = FastHttpProtocol(h.front._fast_factories[0]), Wire()
        connection.connection_made(wire)
        connection.data_received(post("/predictions/m", b"one") + post("/predictions/m", b"two"))
        sinks[0].done(Reply(b""))
        connection.data_received(post("/predictions/m", b"three"))
        for i in (1, 2):
            await until(lambda i=i: len(sinks) > i)
            sinks[i].done(Reply(b""))
        connection.connection_lost(None)
    assert [payload.parts[0].body for payload in data.payloads] == [b"one", b"two", b"three"]


async def test_a_client_that_sends_far_ahead_is_held_back_and_loses_nothing() -> None:
    data, sinks = holding()
    async with running_front(data=data) as h, connect(h.port()) as (reader, writer):
        body = b"x" * 50_000
        writer.write(b"".join(post("/predictions/m", body) for _ in range(200)))
        await until(lambda: sinks)
        (connection,) = h.front._fast_factories[0].connections
        await until(lambda: connection._transport and not connection._transport.is_reading())
        assert len(connection._rest) < MB
        for i in range(200):
            await until(lambda i=i: len(sinks) > i)
            sinks[i].done(Reply(b"%d" % i))
            assert (await answer(reader))[1] == b"%d" % i
        assert fast_connections(h) == 1


async def test_a_client_that_leaves_takes_what_it_sent_ahead_with_it() -> None:
    data, _ = holding()
    async with running_front(data=data) as h:
        async with connect(h.port()) as (_, writer):
            writer.write(post("/predictions/m", b"one") + post("/predictions/m", b"two"))
            await until(lambda: data.payloads)
        await until(lambda: data.cancelled)
        assert (fast_connections(h), len(data.payloads), data.cancelled) == (0, 1, 1)
        assert [entry.status for entry in h.log] == [499]


async def test_an_answer_after_the_client_has_gone_finds_nobody() -> None:
    data, sinks = holding()
    async with running_front(data=data) as h:
        async with connect(h.port()) as (_, writer):
            writer.write(post("/predictions/m", b"one"))
            await until(lambda: sinks)
        await until(lambda: data.cancelled)
        sinks[0].chunk(Reply(b"late"))
        sinks[0].done(Reply(b"late"))
        assert [entry.status for entry in h.log] == [499]


# ---- time


async def trickle(writer: asyncio.StreamWriter, pieces: int, size: int) -> None:
    with suppress(ConnectionError):
        for _ in range(pieces):
            writer.write(b"x" * size)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("first", [b"", b"half"])
async def test_a_body_that_stalls_is_408_with_the_numbers(first: bytes) -> None:
    async with running_front(replace(SMALL, body_grace=30.0)) as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", first, declared=100))
        lines, body = await answer(reader)
        error = json.loads(body)
        assert lines[0] == "HTTP/1.1 408 Request Timeout"
        assert re.match(rf"The request body came too slowly: {len(first)} of 100 bytes in \d+\.\d", error["message"])
        assert "connection: close" in lines
        assert (h.data.payloads, h.data.arriving) == ([], 0)
        writer.write(post("/predictions/m", b"late"))  # of no interest any more
        assert await asyncio.wait_for(reader.read(), SOON) == b""
        await until(lambda: not fast_connections(h))
        assert [entry.status for entry in h.log] == [408]


async def test_a_body_below_the_rate_is_408_although_it_never_stalls() -> None:
    async with running_front(replace(SMALL, body_idle=30.0)) as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", declared=5000))
        dripping = asyncio.ensure_future(trickle(writer, 5000, 1))
        lines, _ = await answer(reader)
        dripping.cancel()
        assert "408" in lines[0]
        assert h.data.payloads == []


async def test_a_slow_body_above_the_rate_is_accepted() -> None:
    async with running_front(replace(SMALL, body_idle=30.0)) as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", declared=5000))
        began = monotonic()
        await trickle(writer, 25, 200)
        assert monotonic() - began > SMALL.body_grace
        lines, body = await answer(reader)
        assert (lines[0], len(body)) == ("HTTP/1.1 200 ", 5000)
        assert fast_connections(h) == 1


async def test_an_idle_connection_ends_and_one_that_waits_for_its_answer_does_not() -> None:
    data, sinks = holding()
    async with (
        running_front(replace(SMALL, keep_alive=1.0), data) as h,
        connect(h.port()) as (idle, _),
        connect(h.port()) as (reader, writer),
        connect(h.port()) as (used, other),
    ):
        writer.write(post("/predictions/m", b"x"))
        await until(lambda: len(sinks) == 1)
        other.write(post("/predictions/m", b"y"))
        await until(lambda: len(sinks) == 2)
        sinks[1].done(Reply(b"done"))
        await answer(used)
        for ended in (idle, used):
            assert await asyncio.wait_for(ended.read(), SOON) == b""
        assert fast_connections(h) == 1
        sinks[0].done(Reply(b"at last"))
        assert (await answer(reader))[1] == b"at last"
        assert await asyncio.wait_for(reader.read(), SOON) == b""


async def test_a_connection_that_is_used_lives_longer_than_an_idle_one() -> None:
    limits = replace(SMALL, keep_alive=1.0)
    async with running_front(limits) as h, connect(h.port()) as (reader, writer):
        began = monotonic()
        while monotonic() - began < 1.5 * limits.keep_alive:
            writer.write(post("/predictions/m", b"x"))
            assert (await answer(reader))[1] == b"x"
            await asyncio.sleep(0.01)
        assert fast_connections(h) == 1


# ---- the end


async def test_a_drain_waits_for_half_a_body_until_its_time_is_up() -> None:
    async with running_front(SMALL) as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", b"half", declared=100))
        await until(lambda: h.data.arriving)
        assert await h.front.drain(SOON)
        assert [entry.status for entry in h.log] == [408]
        lines, _ = await answer(reader)
        assert "408" in lines[0]


async def test_a_drain_answers_the_rest_of_a_body_and_what_is_here_behind_it() -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", b"ab", declared=4))
        await until(lambda: h.data.arriving)
        drain = asyncio.ensure_future(h.front.drain(SOON))
        await asyncio.sleep(0)
        writer.write(b"cd" + post("/predictions/m", b"more"))
        lines, body = await answer(reader)
        assert body == b"abcd"
        if "connection: close" not in lines:  # what is behind it had come when it was written
            lines, body = await answer(reader)
            assert ("connection: close" in lines, body) == (True, b"more")
        assert await asyncio.wait_for(reader.read(), SOON) == b""
        assert await drain


async def test_a_drain_does_not_wait_for_idle_connections_and_still_answers_on_them() -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", b"one"))
        await answer(reader)
        assert await h.front.drain(SOON)
        writer.write(post("/predictions/m", b"two"))
        lines, body = await answer(reader)
        assert ("connection: close" in lines, body) == (True, b"two")


async def test_a_stop_ends_them_all() -> None:
    data, sinks = holding()
    async with (
        running_front(data=data) as h,
        connect(h.port()) as (idle, _),
        connect(h.port()) as (busy, writer),
        connect(h.port()) as (half, other),
    ):
        writer.write(post("/predictions/m", b"x"))
        other.write(post("/predictions/m", b"x", declared=10))
        await until(lambda: sinks and data.arriving)
        acceptor = h.front._fast_factories[0]
        await h.front.stop()
        for reader in (idle, busy, half):
            assert await asyncio.wait_for(reader.read(), SOON) == b""
        await until(lambda: not acceptor.connections)
        assert (data.cancelled, data.arriving) == (1, 0)
        assert [entry.status for entry in h.log] == [499, 499]


async def test_answers_that_need_no_waiting_do_not_nest() -> None:
    def at_once(payload: Payload, sink: Sink) -> None:
        sink.done(Reply(payload.parts[0].body))

    async with running_front(data=FakeDataPlane(behave=at_once)) as h, connect(h.port()) as (reader, writer):
        writer.write(b"".join(post("/predictions/m", b"%d" % i) for i in range(3000)))
        assert [(await answer(reader))[1] for _ in range(3000)] == [b"%d" % i for i in range(3000)]
