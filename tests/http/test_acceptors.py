"""Acceptor processes: the same bytes as without them; killed, drained, stopped, and left by their clients."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from torchserve.core.errors import NotInTime, QueueFull
from torchserve.core.payload import Payload, Reply, Scheduled
from torchserve.http.auth import Guard
from torchserve.http.limits import Limits

from .doubles import FakeDataPlane, House, Sink, answer, connect, house, post, until

HASTY = Limits(max_request_size=100_000, body_idle=0.3, body_grace=0.3, body_rate=100, linger=0.2)
_OF_THE_REQUEST = re.compile(rb"x-request-id: [^\r]+|in \d+\.\d s|incident [0-9a-f]{8}")


def acceptor(h: House) -> int:
    """The process that reads the predictions."""
    (pid,) = h.front._beside[0].pids  # noqa: SLF001
    return pid


def holding() -> tuple[FakeDataPlane, list[Sink]]:
    sinks: list[Sink] = []
    return FakeDataPlane(behave=lambda payload, sink: sinks.append(sink)), sinks


def behaving(payload: Payload, sink: Sink) -> None:
    """Do what the first part's body says."""
    match bytes(payload.parts[0].body):
        case b"full":
            raise QueueFull("full")
        case b"late":
            raise NotInTime("late", retry_after=2.5)
        case b"bug":
            raise ZeroDivisionError
        case word:
            asyncio.get_running_loop().call_soon(answering, word, sink)


def answering(word: bytes, sink: Sink) -> None:
    match word:
        case b"fail":
            sink.fail(QueueFull("failed"))
        case b"status":
            sink.done(Reply(b"x", 418, "Teapot", "text/plain", (("X-Y", "z"), ("Bad\r\nname", "v"))))
        case b"impossible":
            sink.done(Reply(b"x", 42))
        case b"nothing":
            sink.done(Reply(b"", 204))
        case b"stream":
            for piece in (b"a", b"", b"bc"):
                sink.chunk(Reply(piece, headers=(("X-Y", "z"),)))
            sink.done(Reply(b"d"))
        case b"breaks":
            sink.chunk(Reply(b"a"))
            sink.fail(QueueFull("broke"))
        case b"impossible-stream":
            sink.chunk(Reply(b"a", 42))
            sink.done(Reply(b""))
        case _:
            sink.done(Reply(word))


CONVERSATIONS = {
    **{word: post("/predictions/m", word.encode()) for word in (
        "hello", "full", "late", "bug", "fail", "status", "impossible", "nothing", "stream", "breaks",
        "impossible-stream",
    )},
    "no model": post("/predictions/nobody", b"x"),
    "no version": post("/predictions/m/9", b"x"),
    "no model, no body": post("/predictions/nobody", b"x", declared=50),
    "no version, no body": post("/predictions/m/9", b"x", declared=50),
    "stalls": post("/predictions/m", b"x", declared=50),
    "too large": post("/predictions/m", b"x", declared=100_001),
    "json": post("/predictions/m", b"{", "Content-Type: application/json"),
    "unnamed": post("/invocations", b"x"),
    "form": post("/invocations", b"model_name=m", "Content-Type: application/x-www-form-urlencoded"),
    "wish": post("/predictions/m", b"x", "x-request-timeout-ms: soon"),
    "chunks": b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    "no HTTP": b"\x00\x01\r\n\r\n",
    "ping": b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
    "preflight": b"OPTIONS /predictions/m HTTP/1.1\r\nHost: x\r\n\r\n",
    "ahead": post("/predictions/m", b"1") + post("/predictions/nobody", b"2") + post("/predictions/m", b"3"),
}  # fmt: skip
LAST = b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def said(processes: int, *, explained: bool) -> dict[str, tuple[bytes, list[int]]]:
    """Every conversation's answers and statuses, on a connection of its own, with a request for something else last."""
    told: dict[str, tuple[bytes, list[int]]] = {}
    data = FakeDataPlane(behave=behaving, scheduled=Scheduled(0.001, 2, "full", "W-9000", "cpu", 0.5))
    async with house(HASTY, data, acceptors=processes, scheduling_headers=explained) as h:
        for name, raw in CONVERSATIONS.items():
            before = len(h.log)
            unfinished = "no body" in name or name in {"stalls", "too large"}
            got = await h.say(raw if unfinished else raw + LAST, timeout=20)
            await until(lambda before=before: len(h.log) > before)
            told[name] = _OF_THE_REQUEST.sub(b"", got), []
        await h.front.stop()
        return {name: (got, sorted(entry.status for entry in h.log)) for name, (got, _) in told.items()}


@pytest.mark.parametrize("explained", [False, True], ids=["", "scheduling headers"])
async def test_an_acceptor_says_what_the_one_process_says_byte_for_byte(*, explained: bool) -> None:
    alone, beside = await said(0, explained=explained), await said(1, explained=explained)
    assert (b"x-torchserve-worker" in beside["hello"][0]) is explained
    for name in CONVERSATIONS:
        assert beside[name] == alone[name], name


async def test_keys_are_asked_for_and_renewed(tmp_path: Path) -> None:
    guard = Guard.set_up(3600, tmp_path)
    async with house(guard=guard, acceptors=2) as h, connect(h.port()) as (reader, writer):
        for renewed in (False, True):
            old = guard.keys()
            if renewed:
                await guard.renew("inference")
            for keys, status in ((old, "400" if renewed else "200"), (guard.keys(), "200")):
                key = next(key for kind, key, _ in keys.keys if kind == "inference")
                writer.write(post("/predictions/m", b"x", f"Authorization: Bearer {key}"))
                assert (await answer(reader))[0][0].split()[1] == status


async def test_a_client_that_leaves_takes_its_request_out_of_the_queue() -> None:
    data, sinks = holding()
    async with house(data=data, acceptors=1) as h:
        async with connect(h.port()) as (_, writer):
            writer.write(post("/predictions/m", b"x"))
            await until(lambda: sinks)
        await until(lambda: data.cancelled and h.log)
        assert h.log[0].status == 499
        sinks[0].done(Reply(b"too late"))


async def test_a_body_on_its_way_is_known_to_the_batcher() -> None:
    async with house(acceptors=1) as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", b"ab", declared=6))
        await until(lambda: h.data.arriving)
        writer.write(b"cdef")
        assert (await answer(reader))[1] == b"abcdef"
        assert (h.data.arrivals, h.data.arriving) == (1, 0)


async def test_a_killed_acceptor_loses_its_own_connections_and_is_replaced() -> None:
    data, sinks = holding()
    async with house(data=data, acceptors=1) as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", b"x"))
        await until(lambda: sinks)
        first = acceptor(h)
        async with connect(h.port("management")) as (others, other):
            os.kill(first, signal.SIGKILL)
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            await until(lambda: data.cancelled == 1)
            assert [(entry.target, entry.status) for entry in h.log] == [("/predictions/m", 500)]
            # Whoever connects meanwhile waits for the next one.
            async with connect(h.port()) as (late, waiting):
                waiting.write(post("/predictions/m", b"y"))
                await until(lambda: len(sinks) == 2, 20)
                sinks[1].done(Reply(b"y"))
                assert (await answer(late))[1] == b"y"
            other.write(b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await answer(others))[0][0].startswith("HTTP/1.1")
        assert acceptor(h) != first


async def test_a_drain_answers_what_was_accepted() -> None:
    data, sinks = holding()
    async with house(data=data, acceptors=1) as h, connect(h.port()) as (reader, writer):
        pid = acceptor(h)
        writer.write(post("/predictions/m", b"x"))
        await until(lambda: sinks)
        draining = asyncio.create_task(h.front.drain(20))
        await until(lambda: h.front._beside[0].busy)  # noqa: SLF001
        with pytest.raises(ConnectionRefusedError):
            while True:  # until it has heard of it
                _, late = await asyncio.open_connection("127.0.0.1", h.port())
                late.close()
        assert not draining.done()
        sinks[0].done(Reply(b"x"))
        lines, body = await answer(reader)
        assert body == b"x"
        assert "connection: close" in lines
        assert await draining
        await h.front.stop()
        assert [entry.status for entry in h.log] == [200]
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
