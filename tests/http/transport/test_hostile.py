"""Clients that mean harm, or are broken: each is answered or cut within a bound, and the others don't notice."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits

from ..doubles import SOON, FakeDataPlane, RunningFront, Sink, connect, head_and_body, running_front, until

SMALL = Limits(max_request_size=1000, linger=0.2, chunk_slack=500, max_unsent=200_000)
HASTY = replace(
    SMALL, keep_alive=0.5, head=0.4, body_idle=0.3, body_grace=0.3, body_rate=100, write_stall=0.3, worker_wait=0.3
)
OVER = "RequestEntityTooLargeException"
WAYS = pytest.mark.parametrize("method", ["POST", "GET"])  # plain POSTs are read by fast_http.py, the others by aiohttp


def head(path: str, *headers: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers]).encode() + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def error_of(h: RunningFront, raw: bytes, api: str = "inference") -> tuple[int, str]:
    """Status and type of the one answer, after which the server closes."""
    lines, body = head_and_body(await h.say(raw, api))
    assert "connection: close" in lines
    error = json.loads(body)  # a second answer behind it would not parse
    assert lines[0].split()[1] == str(error["code"])
    return error["code"], error["type"]


@asynccontextmanager
async def small_front(limits: Limits = SMALL) -> AsyncIterator[RunningFront]:
    """With small limits; whatever was done to it, it still serves afterwards."""
    async with running_front(limits) as h:
        yield h
        raw = head("/predictions/m", "Content-Length: 2", "Connection: close") + b"ok"
        assert head_and_body(await h.say(raw))[1] == b"ok"


# ---- size


@pytest.mark.parametrize("api", ["inference", "management"])
@pytest.mark.parametrize("expect", [True, False])
async def test_a_declared_ten_gigabytes_are_refused_at_once_and_never_asked_for(api: str, expect: bool) -> None:
    path = "/predictions/m" if api == "inference" else "/models"
    headers = ["Content-Length: 10000000000", *(["Expect: 100-continue"] if expect else [])]
    async with small_front(replace(SMALL, linger=600.0)) as h:  # the client sees the end of the answer before that
        assert await error_of(h, head(path, *headers), api) == (413, OVER)


async def test_a_length_beyond_any_integer_is_refused() -> None:
    async with small_front() as h:
        raw = head("/predictions/m", "Content-Length: 99999999999999999999999")
        assert await error_of(h, raw) == (400, "BadRequestException")


async def test_the_limit_itself_is_accepted() -> None:
    async with small_front() as h:
        close = "Connection: close"
        declared = head("/predictions/m", "Content-Length: 1000", close) + b"x" * 1000
        chunked = head("/predictions/m", "Transfer-Encoding: chunked", close) + chunk(b"x" * 1000) + b"0\r\n\r\n"
        for raw in (declared, chunked):
            assert head_and_body(await h.say(raw))[1] == b"x" * 1000


@pytest.mark.parametrize("at_once", [True, False])
async def test_chunks_are_counted_while_they_are_read(at_once: bool) -> None:
    async with small_front() as h, connect(h.port()) as (reader, writer):
        writer.write(head("/predictions/m", "Transfer-Encoding: chunked"))
        if not at_once:
            await until(lambda: h.data.arriving)
        writer.write(chunk(b"x" * 1001))  # and no end
        lines, body = head_and_body(await asyncio.wait_for(reader.read(), SOON))
        assert json.loads(body)["type"] == OVER
        assert "connection: close" in lines


async def test_a_flood_of_tiny_chunks_is_cut_off() -> None:
    async with small_front() as h, connect(h.port()) as (reader, writer):
        writer.write(head("/predictions/m", "Transfer-Encoding: chunked"))
        await until(lambda: h.data.arriving)
        writer.write(chunk(b"x") * 150)  # 150 bytes in 900
        assert b"400 Bad Request" in await asyncio.wait_for(reader.read(), SOON)


async def test_long_chunk_extensions_are_cut_off() -> None:
    async with small_front() as h, connect(h.port()) as (reader, writer):
        writer.write(head("/predictions/m", "Transfer-Encoding: chunked"))
        await until(lambda: h.data.arriving)
        writer.write(b"1;" + b"e" * 900 + b"\r\nx\r\n")
        assert b"400 Bad Request" in await asyncio.wait_for(reader.read(), SOON)


async def test_a_gzip_bomb_stays_compressed() -> None:
    async with running_front() as h:
        bomb = gzip.compress(bytes(50_000_000))
        raw = head(
            "/predictions/m", f"Content-Length: {len(bomb)}", "Content-Encoding: gzip", "Content-Type: application/json",
            "Connection: close",
        )  # fmt: skip
        assert head_and_body(await h.say(raw + bomb))[1] == bomb
        assert h.data.payloads[0].parts[0].body == bomb


async def test_a_form_of_a_thousand_parts_is_refused() -> None:
    part = b'--X\r\nContent-Disposition: form-data; name="a%d"\r\n\r\n\r\n'
    form = b"".join(part % i for i in range(1000)) + b"--X--"
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(
            head("/predictions/m", "Content-Type: multipart/form-data; boundary=X", f"Content-Length: {len(form)}")
            + form
        )
        answer = await asyncio.wait_for(reader.readuntil(b"}\n"), SOON)
        assert b"400 Bad Request" in answer
        assert b"connection: keep-alive" in answer  # it was read to its end


@pytest.mark.parametrize(
    "body",
    [b"", b"junk", b"--X\r\n", b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\nno end', b"--X--junk--X"],
)
async def test_malformed_multipart_is_400(body: bytes) -> None:
    async with running_front() as h:
        raw = head(
            "/predictions/m",
            "Content-Type: multipart/form-data; boundary=X",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        lines, _ = head_and_body(await h.say(raw + body))
        assert lines[0].startswith("HTTP/1.1 200" if body == b"--X--junk--X" else "HTTP/1.1 400")


@pytest.mark.parametrize("extra", [f"X: {'y' * 9000}", "\r\n".join(f"H{i}: 1" for i in range(200))])
async def test_headers_are_bounded(extra: str) -> None:
    async with small_front() as h:
        assert await error_of(h, head("/predictions/m", extra)) == (400, "BadRequestException")


async def test_the_request_line_is_bounded() -> None:
    async with small_front() as h:
        assert await error_of(h, head("/ping?" + "a" * 4200)) == (400, "BadRequestException")


# ---- time


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for i in range(len(data)):
        writer.write(data[i : i + 1])
        await asyncio.sleep(0.02)


@WAYS
@pytest.mark.parametrize("api", ["inference", "management"])
async def test_half_a_body_is_408(api: str, method: str) -> None:
    path = "/predictions/m" if api == "inference" else "/models"
    async with small_front(HASTY) as h:
        raw = head(path, "Content-Length: 100", method=method) + b"half"
        assert await error_of(h, raw, api) == (408, "RequestTimeoutException")
        assert h.data.arrivals == (1 if api == "inference" else 0)


@WAYS
async def test_a_dripping_body_is_408_although_it_is_never_idle(method: str) -> None:
    async with small_front(HASTY) as h, connect(h.port()) as (reader, writer):
        writer.write(head("/predictions/m", "Content-Length: 900", method=method))
        dripping = asyncio.ensure_future(drip(writer, b"x" * 900))
        lines, body = head_and_body(await asyncio.wait_for(reader.read(), SOON))
        dripping.cancel()
        assert "408" in lines[0]
        assert json.loads(body)["message"].startswith("The request body came too slowly: ")


async def test_a_client_that_says_nothing_is_left() -> None:
    async with small_front(HASTY) as h, connect(h.port()) as (reader, _):
        assert await asyncio.wait_for(reader.read(), SOON) == b""
        assert h.log == []


@WAYS
async def test_a_client_that_does_not_take_its_answer_is_cut_off(method: str) -> None:
    def big(payload: Payload, sink: Sink) -> None:
        asyncio.get_running_loop().call_soon(sink.done, Reply(bytes(30_000_000)))

    async with running_front(HASTY, FakeDataPlane(behave=big)) as h, connect(h.port()) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(head("/predictions/m", "Content-Length: 0", method=method))
        await until(lambda: h.log)
        assert await h.front.drain(SOON)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        got = 0
        with suppress(ConnectionError):
            got = len(await asyncio.wait_for(reader.read(), SOON))
        assert got < 30_000_000


async def test_the_last_kilobytes_are_watched_as_well() -> None:
    sinks: list[Sink] = []
    async with running_front(HASTY, FakeDataPlane(behave=lambda payload, sink: sinks.append(sink))) as h:
        async with connect(h.port()) as (reader, writer):
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(head("/predictions/m", "Content-Length: 0", method="GET"))
            await until(lambda: sinks)
            (connection,) = h.front._aiohttp_servers[0].connections
            assert connection.transport is not None
            while not connection.transport.get_write_buffer_size():
                sinks[0].chunk(Reply(bytes(1000)))
            sinks[0].done(Reply(b""))
            await until(lambda: not connection.connected)
            reader._transport.resume_reading()  # type: ignore[attr-defined]
            got = b""
            with suppress(ConnectionError):
                got = await asyncio.wait_for(reader.read(), SOON)
            assert not got.endswith(b"0\r\n\r\n")


@WAYS
async def test_a_client_that_does_not_take_its_stream_is_cut_off(method: str) -> None:
    sinks: list[Sink] = []
    async with running_front(HASTY, FakeDataPlane(behave=lambda payload, sink: sinks.append(sink))) as h:
        async with connect(h.port()) as (reader, writer):
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(head("/predictions/m", "Content-Length: 0", method=method))
            await until(lambda: sinks)
            async with asyncio.timeout(SOON):
                while not h.data.cancelled:
                    sinks[0].chunk(Reply(bytes(1_000_000)))
                    await asyncio.sleep(0)
            assert [entry.status for entry in h.log] == [499]


async def test_slow_clients_do_not_hold_up_a_good_one() -> None:
    async with small_front() as h:
        slow = [await asyncio.open_connection("127.0.0.1", h.port()) for _ in range(100)]
        for _, writer in slow:
            writer.write(head("/predictions/m", "Content-Length: 900") + b"x")
        await until(lambda: h.data.arriving == 100)
        raw = head("/predictions/m", "Content-Length: 2", "Connection: close") + b"ok"
        assert head_and_body(await h.say(raw))[1] == b"ok"
        assert h.data.arriving == 100, "nor was one of them given up for it"
        for _, writer in slow:
            writer.transport.abort()
        await until(lambda: h.data.arriving == 0)


# ---- grammar


SMUGGLING = [
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /ping HTTP/1.1\r\n\r\n",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 3_0\r\n\r\nabc",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: \xb2\r\n\r\nab",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nbad name: a\r\n\r\n",
    b"POST /predictions/m HTTP/1.1\nHost: x\r\n\r\n",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\n\n\r\n",
    b"POST /predictions/m HTTP/9.9\r\nHost: x\r\n\r\n",
    b"POST /predictions/m HTTP/1.1\r\n\r\n",
    b"BREW /predictions/m HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
    b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
]


@pytest.mark.parametrize("raw", SMUGGLING)
async def test_what_could_be_read_in_two_ways_is_refused_once_and_closed(raw: bytes) -> None:
    async with small_front() as h:
        answer = await h.say(raw)
        lines, body = head_and_body(answer)
        assert json.loads(body) == {"code": 400, "type": "BadRequestException", "message": "Invalid HTTP message."}
        assert "connection: close" in lines
        assert answer.count(b"HTTP/1.1") == 1
        assert not any(line.lower().startswith("server") for line in lines)
        assert h.data.payloads == []
        assert [entry.status for entry in h.log] == [400]


async def test_a_chunk_that_turns_bad_in_a_later_packet_is_400_at_once() -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(head("/predictions/m", "Transfer-Encoding: chunked") + chunk(b"hello"))
        await until(lambda: h.data.arriving)
        writer.write(b"zz\r\n")
        lines, body = head_and_body(await asyncio.wait_for(reader.read(), SOON))
        assert json.loads(body)["message"] == "Invalid HTTP message."
        assert "connection: close" in lines
        assert h.data.payloads == []


async def test_garbage_behind_a_good_request_does_not_spoil_its_answer() -> None:
    async with small_front() as h:
        answer = await h.say(head("/predictions/m", "Content-Length: 2") + b"okGARBAGE\r\n\r\n")
        first, second = answer.split(b"HTTP/1.1 400 ")
        assert first.startswith(b"HTTP/1.1 200 ")
        assert first.endswith(b"ok")
        assert b"Invalid HTTP message." in second
        assert [(entry.target, entry.status) for entry in h.log] == [("/predictions/m", 200), ("/bad-request", 400)]


@pytest.mark.parametrize(
    "raw",
    [
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        head("/nowhere", "Content-Length: 10"),
        head("/ping", "Upgrade: websocket", "Connection: Upgrade", "Content-Length: 4") + b"half",
    ],
)
async def test_odd_requests_end(raw: bytes) -> None:
    async with small_front(HASTY) as h, connect(h.port()) as (reader, writer):
        writer.write(raw)
        assert (await asyncio.wait_for(reader.read(), SOON)).startswith(b"HTTP/1.1 ")


async def test_a_handler_can_not_inject_a_header_or_a_second_answer() -> None:
    evil = Reply(
        b"body",
        phrase="OK\r\nX-Evil: 1",
        content_type="text/plain\r\nX-Evil: 2",
        headers=(
            ("a\r\nX-Evil: 3\r\n", "b"),
            ("c", "d\r\n\r\nHTTP/1.1 200 OK\r\nX-Evil: 4"),
            ("content-length", "0"),
            ("transfer-encoding", "chunked"),
        ),
    )

    def behave(payload: Payload, sink: Sink) -> None:
        asyncio.get_running_loop().call_soon(sink.done, evil)

    async with running_front(data=FakeDataPlane(behave=behave)) as h:
        answer = await h.say(head("/predictions/m", "Content-Length: 0", "Connection: close"))
        lines, body = head_and_body(answer)
        assert body == b"body"
        assert not any(line.startswith(("X-Evil", "transfer-encoding", "HTTP")) for line in lines[1:])
        assert [line for line in lines if line.startswith("content-length")] == ["content-length: 4"]


async def test_many_malformed_messages_are_one_line_of_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with running_front() as h:
            for _ in range(50):
                assert b"Invalid HTTP message." in await h.say(b"garbage <script>\r\n\r\n")
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert "script" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_target_of_odd_bytes_is_logged_as_one_harmless_line() -> None:
    async with running_front() as h:
        await h.say(b'GET /predictions/m"%0a\xc3\xa9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        text = h.log[0].text()
        assert text.isascii()
        assert text.count('"') == 2
        assert "\n" not in text
