"""Answers that a client does not take, and the ends of connections, on real sockets."""

from __future__ import annotations

import asyncio

import pytest

from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits
from torchserve.http.transport.http2 import frames
from torchserve.http.transport.http2.errors import ErrorCode as Code
from torchserve.http.transport.http2.frames import frame

from ...doubles import SOON, FakeDataPlane, Sink, running_front, until
from .client import Client, client
from .harness import data, number, setting

BIG = 20_000_000


def big(payload: Payload, sink: Sink) -> None:
    asyncio.get_running_loop().call_soon(sink.done, Reply(bytes(BIG)))


def open_wide(c: Client, window: int = 2**31 - 1) -> None:
    """Let the server send whatever it has."""
    c.say(setting(4, window), frame(frames.WINDOW_UPDATE, 0, 0, number(2**31 - 1 - 65_535)))


async def test_what_waits_under_flow_control_is_counted_and_the_dearest_is_ended() -> None:
    limits = Limits(max_unsent_total=BIG + BIG // 2)
    async with running_front(limits, FakeDataPlane(behave=big)) as h, client(h) as c, client(h) as other:
        stream = c.ask("POST", "/predictions/m")
        unsent = h.front._context.unsent
        await until(lambda: unsent.size >= BIG)
        stream = other.ask("POST", "/predictions/m")
        open_wide(other)
        assert await c.end() is None
        assert len((await other.answer(stream)).body) == BIG
        await until(lambda: unsent.size == 0)


@pytest.mark.parametrize("reads", ["nothing of a stream", "nothing at all"])
async def test_a_client_that_takes_nothing_is_given_up(reads: str) -> None:
    limits = Limits(write_stall=0.2)
    async with running_front(limits, FakeDataPlane(behave=big)) as h, client(h) as c:
        if reads == "nothing at all":
            c.writer.transport.pause_reading()  # type: ignore[attr-defined]
            open_wide(c)
        stream = c.ask("POST", "/predictions/m")
        await until(lambda: h.log)
        if reads == "nothing at all":
            await until(lambda: h.front.open() == 0)
        else:
            assert (await c.answer(stream)).reset is Code.CANCEL
        await until(lambda: h.front._context.unsent.size == 0)


async def test_a_small_answer_overtakes_a_large_one_that_its_client_reads_slowly() -> None:
    sizes = {b"big": BIG, b"small": 5}

    def sized(payload: Payload, sink: Sink) -> None:
        asyncio.get_running_loop().call_soon(sink.done, Reply(bytes(sizes[bytes(payload.parts[0].body)])))

    async with running_front(data=FakeDataPlane(behave=sized)) as h, client(h) as c:
        open_wide(c)
        large = c.ask("POST", "/predictions/m", body=b"big")
        await c.until(lambda: c.answers[large].body)
        small = c.ask("POST", "/predictions/m", body=b"small")
        await c.answer(small)
        assert not c.answers[large].over
        assert len((await c.answer(large)).body) == BIG


async def test_a_worker_waits_for_a_client_that_reads_slowly_and_goes_on() -> None:
    sinks: list[Sink] = []
    limits = Limits(max_unsent=100_000)
    async with running_front(limits, FakeDataPlane(behave=lambda _, sink: sinks.append(sink))) as h, client(h) as c:
        stream = c.ask("POST", "/predictions/m")
        await until(lambda: sinks)
        for _ in range(3):
            sinks[0].chunk(Reply(bytes(100_000)))
        assert h.data.held_up
        open_wide(c)
        await c.until(lambda: len(c.answers[stream].body) == 300_000)
        assert not h.data.held_up
        sinks[0].done(Reply(b""))
        assert (await c.answer(stream)).ended


async def test_a_worker_does_not_wait_for_ever() -> None:
    sinks: list[Sink] = []
    limits = Limits(max_unsent=100_000, worker_wait=0.2)
    async with running_front(limits, FakeDataPlane(behave=lambda _, sink: sinks.append(sink))) as h, client(h) as c:
        stream = c.ask("POST", "/predictions/m")
        await until(lambda: sinks)
        for _ in range(3):
            sinks[0].chunk(Reply(bytes(100_000)))
        assert (await c.answer(stream)).reset is Code.CANCEL
        assert [entry.status for entry in h.log] == [499]
        assert (h.data.cancelled, h.data.held_up) == (1, 0)
        c.say(frame(frames.WINDOW_UPDATE, 0, 0, number(1000)))  # the reset stream has used the connection's up
        assert (await c.answer(c.ask("GET", "/ping"))).status == 200


# ---- ends


async def test_a_drain_serves_what_is_on_its_way_and_closes() -> None:
    sinks: list[Sink] = []
    async with running_front(data=FakeDataPlane(behave=lambda _, sink: sinks.append(sink))) as h, client(h) as c:
        first = c.ask("POST", "/predictions/m")
        await until(lambda: sinks)
        drain = asyncio.ensure_future(h.front.drain(SOON))
        await c.until(lambda: [each for each in c.frames if each.kind == frames.GOAWAY])
        second = c.ask("POST", "/predictions/m")
        await c.until(lambda: [each for each in c.frames if each.kind == frames.PING])
        (ping,) = [each for each in c.frames if each.kind == frames.PING]
        c.say(frame(frames.PING, frames.ACK, 0, ping.payload))
        await until(lambda: len(sinks) == 2)
        assert not drain.done()
        for sink in sinks:
            sink.done(Reply(b"done"))
        assert await c.end() is Code.NO_ERROR
        assert [c.answers[each].body for each in (first, second)] == [b"done", b"done"]
        assert await drain


async def test_a_body_that_stalls_in_a_drain_is_408() -> None:
    async with running_front(Limits(drain_idle=0.2)) as h, client(h) as c:
        stream = c.ask("POST", "/predictions/m", body=b"half", end=False)
        await until(lambda: h.data.arriving)
        assert await h.front.drain(SOON)
        assert (await c.answer(stream)).status == 408


async def test_a_connection_without_requests_is_drained_after_a_while() -> None:
    async with running_front(Limits(keep_alive=0.2)) as h, client(h) as c:
        await c.answer(c.ask("GET", "/ping"))
        assert await c.end() is Code.NO_ERROR
        assert h.front.open() == 0


async def test_idle_connections_make_room_for_others() -> None:
    async with running_front() as h, client(h) as idle, client(h) as busy:
        await idle.answer(idle.ask("GET", "/ping"))
        busy.ask("POST", "/predictions/m", body=b"half", end=False)
        await until(lambda: h.data.arriving)
        assert h.front.open() == 2
        assert h.front.shed(5) == 1
        assert await idle.end() is Code.NO_ERROR
        busy.say(data(1, b"", end=True))
        assert (await busy.answer(1)).status == 200


async def test_stopping_tells_what_was_looked_at() -> None:
    async with running_front(data=FakeDataPlane(behave=lambda *_: None)) as h, client(h) as c:
        c.ask("POST", "/predictions/m")
        await until(lambda: h.data.payloads)
        await h.front.stop()
        assert await c.end() is Code.NO_ERROR
        assert int.from_bytes(next(each for each in c.frames if each.kind == frames.GOAWAY).payload[:4], "big") == 1
        assert [entry.status for entry in h.log] == [499]


async def test_a_fault_is_logged_and_counted_and_its_client_gets_to_read_why() -> None:
    async with running_front(Limits(linger=0.1)) as h, client(h) as c:
        c.say(frame(frames.PING, 0, 0, bytes(7)), bytes(100_000))
        assert await c.end() is Code.FRAME_SIZE_ERROR
        assert [(entry.target, entry.status, entry.version) for entry in h.log] == [("/bad-request", 400, "2.0")]


async def test_a_flood_of_small_frames_is_read_in_turns() -> None:
    async with running_front() as h, client(h) as c, client(h) as other:
        c.say(*[frame(frames.PING, 0, 0, bytes(8))] * 5000)
        assert (await other.answer(other.ask("GET", "/ping"))).status == 200
        await c.until(lambda: sum(each.kind == frames.PING for each in c.frames) == 5000)
