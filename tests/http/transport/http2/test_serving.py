"""The front over HTTP/2, on real sockets: what is asked of it over HTTP/1.1 it answers alike here, on one connection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from torchserve.core.config.address import Address
from torchserve.core.controlplane import Outcome
from torchserve.core.payload import Payload, Reply
from torchserve.http.front_config import RpcListen
from torchserve.http.message.limits import Limits
from torchserve.http.transport.http2 import frames
from torchserve.http.transport.http2.errors import ErrorCode as Code
from torchserve.http.transport.http2.frames import frame
from torchserve.http.transport.http2.stream import Fields, Stream

from ... import certificates
from ...doubles import SOON, FakeControlPlane, FakeDataPlane, Sink, connect, post, running_front, until
from .client import client
from .harness import Recorder, data, number


async def test_many_requests_share_a_connection_and_come_back_in_any_order() -> None:
    waiting: dict[str, Sink] = {}

    def keep(payload: Payload, sink: Sink) -> None:
        waiting[bytes(payload.parts[0].body).decode()] = sink

    async with running_front(data=FakeDataPlane(behave=keep)) as h, client(h) as c:
        streams = {str(each): c.ask("POST", "/predictions/m", body=str(each).encode()) for each in range(100)}
        await until(lambda: len(waiting) == 100)
        for name in reversed(streams):
            waiting[name].done(Reply(f"answer {name}".encode()))
        for name, stream in streams.items():
            found = await c.answer(stream)
            assert (found.status, found.body) == (200, f"answer {name}".encode())
            assert found.blocks[0]["content-length"] == str(len(found.body))
        assert len({found.blocks[0]["x-request-id"] for found in c.answers.values() if found.blocks}) == 100


async def test_a_streamed_answer_comes_in_pieces_and_may_break_off() -> None:
    sinks: list[Sink] = []
    async with running_front(data=FakeDataPlane(behave=lambda _, sink: sinks.append(sink))) as h, client(h) as c:
        whole, broken = c.ask("POST", "/predictions/m"), c.ask("POST", "/predictions/m")
        await until(lambda: len(sinks) == 2)
        for sink in sinks:
            sink.chunk(Reply(b"a", content_type="text/plain"))
        await c.until(lambda: c.answers[whole].body == c.answers[broken].body == b"a")
        assert c.answers[whole].blocks[0]["ts_stream_next"] == "true"
        assert "content-length" not in c.answers[whole].blocks[0]
        sinks[0].chunk(Reply(b""))
        sinks[0].done(Reply(b"b"))
        sinks[1].fail(RuntimeError("no"))
        assert (await c.answer(whole)).body == b"ab"
        assert (await c.answer(broken)).reset is Code.INTERNAL_ERROR
        assert sorted(h.metrics.statuses) == [200, 500]


async def test_a_client_that_resets_its_stream_takes_its_request_out_of_the_queue() -> None:
    sinks: list[Sink] = []
    async with running_front(data=FakeDataPlane(behave=lambda _, sink: sinks.append(sink))) as h, client(h) as c:
        stream = c.ask("POST", "/predictions/m")
        await until(lambda: sinks)
        c.say(frame(frames.RST_STREAM, 0, stream, number(Code.CANCEL)))
        await until(lambda: h.data.cancelled)
        sinks[0].done(Reply(b"late"))
        assert [entry.status for entry in h.log] == [499]
        c.ask("GET", "/ping")
        await c.until(lambda: c.answers[3].over)


async def test_a_client_that_leaves_takes_all_its_requests_out_of_the_queue() -> None:
    sinks: list[Sink] = []
    async with running_front(data=FakeDataPlane(behave=lambda _, sink: sinks.append(sink))) as h:
        async with client(h) as c:
            for _ in range(3):
                c.ask("POST", "/predictions/m")
            c.ask("POST", "/predictions/m", body=b"half", end=False)
            await until(lambda: len(sinks) == 3 and h.data.arriving)
        await until(lambda: h.data.cancelled == 3)
        await until(lambda: not h.data.arriving)
        assert sorted(entry.status for entry in h.log) == [499] * 4


async def test_management_goes_on_when_its_client_leaves() -> None:
    gate: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    async with running_front(control=FakeControlPlane(result=gate)) as h:
        async with client(h, "management") as c:
            c.ask("DELETE", "/models/m")
            await until(lambda: h.control.calls)
        await until(lambda: h.log)
        assert not await h.front.drain(0.05)
        gate.set_result(Outcome("fine"))
        assert await h.front.drain(SOON)
        assert [entry.status for entry in h.log] == [499]


async def test_a_body_is_counted_while_it_comes_and_may_go_straight_to_shared_memory() -> None:
    room = memoryview(bytearray(6))
    async with running_front() as h, client(h) as c:
        h.data.rooms.append(room)
        stream = c.ask("POST", "/predictions/m", ("content-length", "6"), body=b"abc", end=False)
        await until(lambda: h.data.held == 3)
        assert h.data.arriving == 1
        c.say(data(stream, b"def", end=True))
        assert (await c.answer(stream)).body == b"abcdef"
        assert (bytes(room), h.data.held) == (b"abcdef", 0)
        assert h.data.payloads[0].parts[0].body is room
        stream = c.ask("POST", "/predictions/m", body=b"abc", end=False)
        await until(lambda: h.data.held == 3)
        c.say(data(stream, b"", end=True))
        assert (await c.answer(stream)).body == b"abc"


REFUSED = {
    "declared too long": ("/predictions/m", (("content-length", "101"),), b"", 413),
    "found too long": ("/predictions/m", (), bytes(101), 413),
    "management, found too long": ("/models", (), bytes(101), 413),
    "no such model": ("/predictions/nobody", (), b"x", 404),
    "no room": ("/predictions/m", (), bytes(60), 503),
    "too slow": ("/predictions/m", (), b"x", 408),
    "management, too slow": ("/models", (), b"x", 408),
}


@pytest.mark.parametrize(("path", "fields", "body", "status"), REFUSED.values(), ids=REFUSED)
async def test_a_body_that_is_not_to_come_is_refused_and_the_connection_stays(
    path: str, fields: Fields, body: bytes, status: int
) -> None:
    limits = Limits(max_request_size=100, body_idle=0.2, linger=0.05)
    api = "management" if path == "/models" else "inference"
    async with running_front(limits, FakeDataPlane(most=50 if status == 503 else 10**9)) as h, client(h, api) as c:
        stream = c.ask("POST", path, *fields, body=body, end=False)  # type: ignore[arg-type]
        found = await c.answer(stream)
        assert found.status == status
        assert found.ended
        assert (h.data.arriving, h.data.payloads) == (0, [])
        assert (await c.answer(c.ask("GET", "/models" if api == "management" else "/ping"))).status == 200
        await c.until(lambda: found.reset is not None)
        assert found.reset is Code.NO_ERROR


async def test_a_client_may_wait_to_be_told_to_go_on() -> None:
    async with running_front() as h, client(h) as c:
        stream = c.ask("POST", "/predictions/m", ("expect", "100-continue"), end=False)
        await c.until(lambda: c.answers[stream].blocks)
        assert c.answers[stream].blocks[0][":status"] == "100"
        c.say(data(stream, b"x", end=True))
        assert (await c.answer(stream)).body == b"x"


# ---- listeners


async def test_one_port_speaks_both_versions() -> None:
    async with running_front() as h:
        async with client(h) as c:
            assert (await c.answer(c.ask("POST", "/predictions/m", body=b"two"))).body == b"two"
        async with connect(h.port()) as (reader, writer):
            writer.write(post("/predictions/m", b"one"))
            assert (await reader.readuntil(b"one")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("api", ["inference", "management"])
async def test_the_beginning_may_come_byte_by_byte(api: str) -> None:
    async with running_front() as h, connect(h.port(api)) as (reader, writer):
        for byte in frames.PREFACE + frame(frames.SETTINGS, 0, 0):
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        head = await asyncio.wait_for(reader.readexactly(9), SOON)
        assert head[3] == frames.SETTINGS


@pytest.mark.parametrize("said", [b"P", b"PR", b"PRI"])
async def test_a_beginning_that_goes_no_further_is_408(said: bytes) -> None:
    async with running_front(Limits(head=0.1)) as h:
        assert b" 408 " in await h.say(said)


async def test_a_post_may_come_byte_by_byte_too() -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        for byte in post("/predictions/m", b"x"):
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.001)
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\nx"), SOON)).startswith(b"HTTP/1.1 200")


async def test_tls_offers_http_2() -> None:
    listen = {"inference": Address("127.0.0.1", 0, tls=True)}
    async with running_front(listen=listen, tls=certificates.context()) as h:
        tls = certificates.trusting()
        tls.set_alpn_protocols(["h2", "http/1.1"])
        async with client(h, tls=tls) as c:
            assert c.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
            assert (await c.answer(c.ask("POST", "/predictions/m", body=bytes(100_000)[:16_000]))).body == bytes(16_000)


async def test_a_preface_behind_a_request_is_no_http_2() -> None:
    async with running_front() as h:
        said = await h.say(post("/predictions/m", b"x") + frames.PREFACE)
        assert said.count(b"HTTP/1.1 ") == 2
        assert b" 400 " in said


class Rpc(Recorder):
    def ended(self, trailers: Fields) -> None:
        self.stream.send_headers(((":status", "200"), ("content-type", "application/grpc")))
        self.stream.send((self.body,))
        self.stream.send_trailers((("grpc-status", "0"),))


async def test_grpc_has_its_place_on_every_listener_and_on_ports_of_its_own() -> None:
    made: list[tuple[object, object]] = []

    def rpc(_context: object, apis: object, reach: object) -> Any:
        made.append((apis, reach))
        return Rpc

    listen = {"inference": RpcListen(Address("127.0.0.1", 0))}
    grpc = ("content-type", "application/grpc+proto")
    async with running_front(rpc=rpc, rpc_listen=listen) as h:
        assert made == [(frozenset({api}), "loopback") for api in ("inference", "management", "metrics", "inference")]
        for port in (h.port(), h.front.rpc_bound["inference"].port):
            async with client(h, port=port) as c:
                found = await c.answer(c.ask("POST", "/a.B/C", grpc, body=b"x"))
                assert (found.body, found.blocks[-1]) == (b"x", {"grpc-status": "0"})
        async with client(h, port=h.front.rpc_bound["inference"].port) as c:
            assert (await c.answer(c.ask("GET", "/ping"))).status == 415
        async with connect(h.front.rpc_bound["inference"].port) as (reader, writer):
            writer.write(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"no HTTP/2" in await asyncio.wait_for(reader.read(), SOON)
    async with running_front() as h, client(h) as c:
        assert (await c.answer(c.ask("POST", "/a.B/C", grpc, body=b"x"))).status == 415


async def test_a_connection_that_is_old_is_drained() -> None:
    streams: list[Stream] = []

    def rpc(*_: object) -> Any:
        return lambda stream: streams.append(stream) or Recorder(stream)

    listen = {"inference": RpcListen(Address("127.0.0.1", 0), max_age=0.2, age_grace=0.2)}
    async with running_front(rpc=rpc, rpc_listen=listen) as h:
        async with client(h, port=h.front.rpc_bound["inference"].port) as c:
            c.ask("POST", "/a.B/C", ("content-type", "application/grpc"), end=False)
            await until(lambda: streams)
            assert await c.end() is Code.NO_ERROR
        assert streams[0].draining
