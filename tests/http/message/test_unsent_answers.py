"""Answers that clients leave unread: what one connection and all of them may keep, and whom that ends."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest

from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits
from torchserve.http.message.unsent_answers import UnsentAnswers, UnsentLimit

from ..doubles import SOON, FakeDataPlane, RunningFront, Sink, answer, connect, post, running_front, until

MB = 1_000_000
WAYS = pytest.mark.parametrize("method", ["POST", "GET"])  # the one is read by fast_http.py, the other by aiohttp


def big(payload: Payload, sink: Sink) -> None:
    """Answer with so many MB as the body says."""
    asyncio.get_running_loop().call_soon(sink.done, Reply(bytes(int(payload.parts[0].body or b"8") * MB)))


def deaf(reader: asyncio.StreamReader) -> None:
    """Read nothing from now on."""
    reader._transport.pause_reading()  # type: ignore[attr-defined]


def hear(reader: asyncio.StreamReader) -> None:
    reader._transport.resume_reading()  # type: ignore[attr-defined]


def unsent(h: RunningFront) -> int:
    return h.front._context.unsent.size


@WAYS
async def test_what_was_sent_ahead_is_not_read_while_an_answer_is_unread_and_none_of_it_is_lost(method: str) -> None:
    async with running_front(data=FakeDataPlane(behave=big)) as h, connect(h.port()) as (reader, writer):
        deaf(reader)
        writer.write(b"".join(post("/predictions/m", b"%d" % (8 + i % 2), method=method) for i in range(40)))
        await until(lambda: unsent(h))
        for _ in range(100):  # turns of the loop, in which a front that goes on would
            await asyncio.sleep(0)
        assert len(h.data.payloads) <= 2
        assert unsent(h) <= 9 * MB + 1000
        hear(reader)
        for i in range(40):
            assert len((await answer(reader))[1]) == (8 + i % 2) * MB
        assert len(h.data.payloads) == 40


@WAYS
async def test_an_answer_that_is_added_is_no_sign_of_a_client_that_reads(method: str) -> None:
    limits = Limits(write_stall=0.4, max_unsent=1000 * MB)
    sinks: list[Sink] = []
    async with running_front(limits, FakeDataPlane(behave=lambda payload, sink: sinks.append(sink))) as h:
        async with connect(h.port()) as (reader, writer):
            deaf(reader)
            writer.write(post("/predictions/m", b"", method=method))
            await until(lambda: sinks)
            async with asyncio.timeout(SOON):
                while not h.data.cancelled:  # a little more, again and again
                    sinks[0].chunk(Reply(bytes(100_000)))
                    await asyncio.sleep(0.05)
            assert [entry.status for entry in h.log] == [499]


@WAYS
async def test_beyond_what_all_may_keep_who_reads_nothing_is_ended_and_who_reads_is_not(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    limits = replace(Limits(), max_unsent_total=60 * MB)
    async with running_front(limits, FakeDataPlane(behave=big)) as h, AsyncExitStack() as stack:
        for _ in range(20):
            reader, writer = await stack.enter_async_context(connect(h.port()))
            deaf(reader)
            writer.write(post("/predictions/m", b"12", method=method))
        peak = 0
        while len(h.log) < 20:
            peak = max(peak, unsent(h))
            await asyncio.sleep(0.001)
        reader, writer = await stack.enter_async_context(connect(h.port()))
        for _ in range(5):
            writer.write(post("/predictions/m", b"30", method=method))
            assert len((await answer(reader))[1]) == 30 * MB
            peak = max(peak, unsent(h))
        assert peak <= limits.max_unsent_total
        lines = [record.message for record in caplog.records if "max_unsent_bytes" in record.message]
        assert len(lines) == 1, "however many were ended"


@WAYS
async def test_what_is_unsent_is_counted_to_the_last_byte_and_forgotten_with_its_connection(method: str) -> None:
    async with running_front(data=FakeDataPlane(behave=big)) as h:
        for leaves in (True, False):
            async with connect(h.port()) as (reader, writer):
                deaf(reader)
                writer.write(post("/predictions/m", b"20", method=method))
                await until(lambda: unsent(h))
                if not leaves:
                    hear(reader)
                    assert len((await answer(reader))[1]) == 20 * MB
                    assert unsent(h) == 0
                with suppress(ConnectionError):
                    writer.transport.abort()
            await until(lambda: unsent(h) == 0)


# ---- streamed answers


@WAYS
async def test_a_worker_waits_for_a_slow_reader_and_its_stream_is_whole(method: str) -> None:
    limits = Limits(max_unsent=3 * MB)
    sinks: list[Sink] = []
    async with running_front(limits, FakeDataPlane(behave=lambda payload, sink: sinks.append(sink))) as h:
        async with connect(h.port(), limit=100 * MB) as (reader, writer):  # it takes all that comes while it hears
            deaf(reader)
            writer.write(post("/predictions/m", b"", method=method))
            await until(lambda: sinks)
            sent = 0
            for _ in range(3):  # times that the worker is stopped, and goes on
                while not h.data.held_up:
                    assert not h.log, "its client was ended"
                    sinks[0].chunk(Reply(b"%d" % (sent % 10) * 100_000))
                    sent += 1
                    await asyncio.sleep(0)
                assert unsent(h) <= limits.max_unsent + 300_000
                hear(reader)
                await until(lambda: h.log or not h.data.held_up)
                deaf(reader)
            sinks[0].done(Reply(b""))
            hear(reader)
            await reader.readuntil(b"\r\n\r\n")
            for i in range(sent):
                assert await asyncio.wait_for(reader.readuntil(b"\r\n"), SOON) == b"186a0\r\n"
                assert await asyncio.wait_for(reader.readexactly(100_002), SOON) == b"%d" % (i % 10) * 100_000 + b"\r\n"
            assert await asyncio.wait_for(reader.readexactly(5), SOON) == b"0\r\n\r\n"
            assert [entry.status for entry in h.log] == [200]
            writer.write(post("/predictions/m", b"", method=method))  # and the connection is as it was
            await until(lambda: len(sinks) == 2)
            sinks[1].done(Reply(b"next"))
            assert (await answer(reader))[1] == b"next"


async def test_small_pieces_which_have_a_way_of_their_own_are_counted_too() -> None:
    sinks: list[Sink] = []
    async with running_front(data=FakeDataPlane(behave=lambda payload, sink: sinks.append(sink))) as h:
        async with connect(h.port(), limit=100 * MB) as (reader, writer):
            deaf(reader)
            writer.write(post("/predictions/m", b""))
            await until(lambda: sinks)
            sent = 0
            while not unsent(h):
                for _ in range(100):
                    sinks[0].chunk(Reply(bytes(2000)))
                    sent += 1
                await asyncio.sleep(0)
            for _ in range(5):
                before = unsent(h)
                sinks[0].chunk(Reply(bytes(2000)))
                sent += 1
                assert unsent(h) == before + 2000 + len(b"7d0\r\n\r\n")
            sinks[0].done(Reply(b""))
            hear(reader)
            await reader.readuntil(b"\r\n\r\n")
            whole = (b"7d0\r\n" + bytes(2000) + b"\r\n") * sent + b"0\r\n\r\n"
            assert await asyncio.wait_for(reader.readexactly(len(whole)), SOON) == whole
            assert unsent(h) == 0


@WAYS
@pytest.mark.parametrize(
    ("limits", "patience"),
    [(Limits(max_unsent=MB, worker_wait=0.3), 10**6), (Limits(max_unsent=MB), 0.0), (Limits(max_unsent=MB), 0.2)],
)
async def test_no_worker_waits_for_longer_than_it_may(method: str, limits: Limits, patience: float) -> None:
    sinks: list[Sink] = []
    data = FakeDataPlane(behave=lambda payload, sink: sinks.append(sink), patience=patience)
    if patience:  # it grows less, as with the real one
        began: list[float] = []
        loop = asyncio.get_running_loop()

        def left() -> float:
            began.append(loop.time())
            return patience - (began[-1] - began[0])

        data.left = left
    async with running_front(limits, data) as h, connect(h.port()) as (reader, writer):
        deaf(reader)
        writer.write(post("/predictions/m", b"", method=method))
        await until(lambda: sinks)
        while not h.data.held_up and not h.data.cancelled:
            sinks[0].chunk(Reply(bytes(100_000)))
            await asyncio.sleep(0)
        await until(lambda: h.data.cancelled)
        assert not h.data.held_up
        assert [entry.status for entry in h.log] == [499]


class Written(asyncio.Transport):
    """A transport to a client that takes all at once, and what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False


async def test_small_pieces_of_a_turn_are_one_write_in_front_of_what_comes_next() -> None:
    total, ends = UnsentLimit(Limits()), [Written(), Written()]
    one, other = (UnsentAnswers(total, each) for each in ends)
    for piece in (b"a", b"b"):
        one.write_chunk(piece)
        other.write_chunk(piece)
    assert ends[0].writes == []
    await asyncio.sleep(0)
    assert ends[0].writes == ends[1].writes == [b"ab"]
    one.write_chunk(b"c")
    one.write((b"the", b"end"))
    assert ends[0].writes == [b"ab", b"c", b"theend"]
    other.write_chunk(b"c")
    other.close()
    await asyncio.sleep(0)
    assert ends[1].writes == [b"ab"], "the connection is lost"
    assert len(ends[0].writes) == 3


async def test_many_small_pieces_do_not_wait_for_the_end_of_a_long_turn() -> None:
    end = Written()
    unsent = UnsentAnswers(UnsentLimit(Limits()), end)
    for _ in range(100):
        unsent.write_chunk(b"x")
    assert [len(each) for each in end.writes] == [32, 32, 32]
    await asyncio.sleep(0)
    assert b"".join(end.writes) == b"x" * 100
