"""The same front through TCP, TLS and a unix socket: fast_http.py, its handing over to aiohttp, and the ends of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from torchserve.core.config.address import Address
from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits

from .. import certificates
from ..doubles import SOON, FakeDataPlane, RunningFront, Sink, head_and_body, running_front, until

Dial = Callable[[RunningFront], AbstractAsyncContextManager[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Way:
    """One kind of listener, for all apis, and how to call it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = str(folder / "sock")

    def running_front(self, **options: Any) -> AbstractAsyncContextManager[RunningFront]:
        listener = {
            "tcp": Address("127.0.0.1", 0),
            "tls": Address("127.0.0.1", 0, tls=True),
            "unix": Address("", 0, path=self.path),
        }[self.kind]
        tls = certificates.context() if self.kind == "tls" else None
        return running_front(listen={"inference": listener}, tls=tls, **options)

    @asynccontextmanager
    async def dial(self, h: RunningFront) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        if self.kind == "unix":
            reader, writer = await asyncio.open_unix_connection(self.path)
        else:
            tls = certificates.trusting() if self.kind == "tls" else None
            reader, writer = await asyncio.open_connection("127.0.0.1", h.port(), ssl=tls)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)


@pytest.fixture(params=["tcp", "tls", "unix"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    return Way(request.param, tmp_path)


def ask(method: str, path: str, body: bytes = b"", *more: str, declared: int | None = None) -> bytes:
    length = len(body) if declared is None else declared
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", *more, "", ""]
    return "\r\n".join(lines).encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """The status line and body of one answer with a length."""
    async with asyncio.timeout(SOON):
        lines, _ = head_and_body(await reader.readuntil(b"\r\n\r\n"))
        length = next(int(line.split(": ")[1]) for line in lines if line.startswith("content-length"))
        return lines[0], await reader.readexactly(length)


def silent(payload: Payload, sink: Sink) -> None:
    """Never answers."""


async def test_one_connection_goes_from_the_fast_path_to_aiohttp_and_on(way: Way) -> None:
    async with way.running_front() as h, way.dial(h) as (reader, writer):
        for method, path, body in (
            ("POST", "/predictions/m", b"fast"), ("PUT", "/predictions/m/1.0", b"again"),
            ("GET", "/predictions/m", b"aiohttp's"), ("POST", "/predictions/m", b"from now on"), ("GET", "/ping", b""),
        ):  # fmt: skip
            writer.write(ask(method, path, body))
            status, answered = await answer(reader)
            assert status.startswith("HTTP/1.1 200")
            assert answered == body or b"Healthy" in answered
        assert [bytes(payload.parts[0].body) for payload in h.data.payloads] == [
            b"fast", b"again", b"aiohttp's", b"from now on",
        ]  # fmt: skip


async def test_requests_sent_ahead_cross_the_handing_over_in_order(way: Way) -> None:
    async with way.running_front() as h, way.dial(h) as (reader, writer):
        methods = ["POST"] * 5 + ["GET"] * 5 + ["POST"] * 5
        writer.write(b"".join(ask(each, "/predictions/m", b"%d" % i) for i, each in enumerate(methods)))
        assert [(await answer(reader))[1] for _ in methods] == [b"%d" % i for i in range(len(methods))]


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_large_bodies_both_ways(way: Way, method: str) -> None:
    body = bytes(range(256)) * 20_000
    async with way.running_front() as h, way.dial(h) as (reader, writer):
        writer.write(ask(method, "/predictions/m", body))
        assert (await answer(reader))[1] == body


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_streamed_answer(way: Way, method: str) -> None:
    sinks: list[Sink] = []
    data = FakeDataPlane(behave=lambda payload, sink: sinks.append(sink))
    async with way.running_front(data=data) as h, way.dial(h) as (reader, writer):
        writer.write(ask(method, "/predictions/m"))
        await until(lambda: sinks)
        sinks[0].chunk(Reply(b"one"))
        assert b"transfer-encoding: chunked" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)
        assert await asyncio.wait_for(reader.readexactly(8), SOON) == b"3\r\none\r\n"
        sinks[0].done(Reply(b"two"))
        assert await asyncio.wait_for(reader.readexactly(13), SOON) == b"3\r\ntwo\r\n0\r\n\r\n"


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_client_that_leaves_is_noticed(way: Way, method: str) -> None:
    async with way.running_front(data=FakeDataPlane(behave=silent)) as h:
        async with way.dial(h) as (_, writer):
            writer.write(ask(method, "/predictions/m", b"x"))
            await until(lambda: h.data.payloads)
        await until(lambda: h.data.cancelled == 1)


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_refusal_reaches_a_client_that_is_still_sending(way: Way, method: str) -> None:
    async with way.running_front(limits=Limits(linger=2.0)) as h, way.dial(h) as (reader, writer):
        writer.write(ask(method, "/predictions/nobody", b"x" * 1000, declared=100_000))
        status, body = await answer(reader)
        assert status == "HTTP/1.1 404 Not Found"
        writer.write(b"x" * 10_000)
        assert b"Model not found: nobody" in body


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_the_connection_closes_when_asked_to(way: Way, method: str) -> None:
    async with way.running_front() as h, way.dial(h) as (reader, writer):
        writer.write(ask(method, "/predictions/m", b"x", "Connection: close"))
        assert (await answer(reader))[1] == b"x"
        assert await asyncio.wait_for(reader.read(), SOON) == b""


async def test_an_idle_connection_is_closed(way: Way) -> None:
    async with way.running_front(limits=Limits(keep_alive=0.05)) as h, way.dial(h) as (reader, _):
        assert await asyncio.wait_for(reader.read(), SOON) == b""
        assert h.log == []


async def test_a_drain_answers_what_has_arrived(way: Way) -> None:
    sinks: list[Sink] = []
    data = FakeDataPlane(behave=lambda payload, sink: sinks.append(sink))
    async with way.running_front(data=data) as h, way.dial(h) as (reader, writer), way.dial(h) as (reader2, writer2):
        writer.write(ask("POST", "/predictions/m"))
        writer2.write(ask("GET", "/predictions/m"))
        await until(lambda: len(sinks) == 2)
        drain = asyncio.ensure_future(h.front.drain(SOON))
        await asyncio.sleep(0)
        with pytest.raises(OSError):
            async with way.dial(h):
                pass
        assert not drain.done()
        for sink, _each in zip(sinks, (reader, reader2), strict=True):
            sink.done(Reply(b"done"))
        assert {(await answer(each))[1] for each in (reader, reader2)} == {b"done"}
        assert await drain


async def test_a_slow_reader_gets_all_and_is_waited_for(way: Way) -> None:
    body = b"x" * 5_000_000
    async with way.running_front() as h, way.dial(h) as (reader, writer):
        writer.write(ask("POST", "/predictions/m", body))
        await until(lambda: h.log)
        assert not await h.front.drain(0.01)
        stopping = asyncio.ensure_future(h.front.drain(SOON))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not stopping.done()
        assert (await answer(reader))[1] == body
        await stopping


async def test_the_peer_is_named_in_the_log_where_it_has_a_name(way: Way) -> None:
    async with way.running_front() as h, way.dial(h) as (reader, writer):
        for method in ("POST", "GET"):
            writer.write(ask(method, "/predictions/m"))
            await answer(reader)
        expected = "/unknown" if way.kind == "unix" else "/127.0.0.1:"
        assert all(entry.text().startswith(expected) for entry in h.log)
