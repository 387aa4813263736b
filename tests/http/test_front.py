"""A running front over real sockets: listeners, keep-alive, streaming, clients that leave, draining, purity."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import subprocess
import sys
from typing import Any

import aiohttp
import pytest

from torchserve.core.config.address import Address
from torchserve.core.errors import InvalidConfig, QueueFull
from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits

from ..ports import kept_ports
from .doubles import (
    SOON,
    FakeControlPlane,
    FakeDataPlane,
    RunningFront,
    Sink,
    answer,
    connect,
    head_and_body,
    post,
    running_front,
    until,
)

GET_PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"


WAYS = pytest.mark.parametrize("method", ["POST", "GET"])  # plain POSTs are read by fast_http.py, the others by aiohttp


async def test_a_prediction_end_to_end() -> None:
    async with running_front() as h, aiohttp.ClientSession() as client:
        for method in ("POST", "GET", "PUT", "DELETE", "PATCH", "REPORT"):
            async with client.request(method, h.url("/predictions/m/1.0"), data=b"hello") as response:
                assert (response.status, response.reason) == (200, "")
                assert await response.read() == b"hello"
                assert "content-type" not in response.headers
                assert "server" not in response.headers
                assert "date" not in response.headers
                assert response.headers["x-request-id"] == h.data.payloads[-1].request_id
        assert [entry.text().split(":")[0] for entry in h.log] == ["/127.0.0.1"] * 6
        assert len(h.data.ends) == 6


async def test_a_clients_own_request_id_is_not_taken_over() -> None:
    async with running_front() as h, aiohttp.ClientSession() as client:
        async with client.post(h.url("/predictions/m"), headers={"x-request-id": "mine"}) as response:
            assert response.headers["x-request-id"] != "mine"


@WAYS
async def test_connections_stay_open_across_errors(method: str) -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        for path, status in (("/predictions/nobody", "404"), ("/nowhere", "404"), ("/predictions/m", "200")):
            writer.write(post(path, b"x", method=method))
            lines, _ = await answer(reader)
            assert status in lines[0]
            assert "connection: keep-alive" in lines


@WAYS
async def test_pipelined_requests_are_answered_in_order(method: str) -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(b"".join(post("/predictions/m", b"%d" % i, method=method) for i in range(50)))
        assert [(await answer(reader))[1] for _ in range(50)] == [b"%d" % i for i in range(50)]


@pytest.mark.parametrize(
    ("version", "headers", "closes"),
    [
        ("1.1", "Connection: close\r\n", True), ("1.1", "", False),
        ("1.0", "", True), ("1.0", "Connection: keep-alive\r\n", False),
    ],
)  # fmt: skip
async def test_the_client_decides_whether_the_connection_stays(version: str, headers: str, closes: bool) -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(f"GET /ping HTTP/{version}\r\nHost: x\r\n{headers}\r\n".encode())
        lines, _ = await answer(reader)
        assert (f"connection: {'close' if closes else 'keep-alive'}") in lines
        if closes:
            assert await asyncio.wait_for(reader.read(), SOON) == b""
        else:
            writer.write(GET_PING)
            await answer(reader)


async def test_metrics() -> None:
    async with running_front() as h, aiohttp.ClientSession() as client:
        async with client.get(h.url("/metrics?name[]=a&name%5B%5D=b&other=c", "metrics")) as response:
            assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert await response.read() == b"# HELP x y\n"
        async with client.get(h.url("/metrics", "metrics")) as response:
            assert response.status == 200
    assert h.metrics.asked == [{"a", "b"}, set()]


@pytest.mark.parametrize(
    ("api", "method", "path", "status", "kind"),
    [
        ("inference", "DELETE", "/", 405, "MethodNotAllowedException"),
        ("inference", "GET", "/nothing", 404, "ResourceNotFoundException"),
        ("inference", "GET", "/models", 404, "ResourceNotFoundException"),
        ("inference", "GET", "/metrics", 404, "ResourceNotFoundException"),
        ("inference", "GET", "/predictions", 404, "ResourceNotFoundException"),
        ("inference", "POST", "/predictions/nobody", 404, "ModelNotFoundException"),
        ("inference", "POST", "/predictions/m/9", 404, "ModelVersionNotFoundException"),
        ("inference", "POST", "/predictions/%zz", 403, "IllegalArgumentException"),
        ("management", "POST", "/predictions/m", 404, "ResourceNotFoundException"),
        ("management", "GET", "/ping", 404, "ResourceNotFoundException"),
        ("management", "POST", "/models/m", 405, "MethodNotAllowedException"),
        ("management", "GET", "/models?a=%", 403, "IllegalArgumentException"),
        ("metrics", "GET", "/other", 404, "ResourceNotFoundException"),
    ],
)  # fmt: skip
async def test_errors_by_route(api: str, method: str, path: str, status: int, kind: str) -> None:
    async with running_front() as h:
        raw = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        lines, body = head_and_body(await h.say(raw, api))
        assert lines[0].split()[1] == str(status)
        assert "content-type: application/json" in lines
        assert list(json.loads(body)) == ["code", "type", "message"]
        assert json.loads(body)["type"] == kind
        assert [(entry.target, entry.status) for entry in h.log] == [(path, status)]


async def test_many_at_once() -> None:
    async with running_front() as h, aiohttp.ClientSession() as client:

        async def one(i: int) -> bytes:
            async with client.post(h.url("/predictions/m"), data=b"%d" % i * 1000) as response:
                return await response.read()

        assert await asyncio.gather(*map(one, range(300))) == [b"%d" % i * 1000 for i in range(300)]


async def test_large_bodies_come_and_go_whole_and_are_expected() -> None:
    async with running_front() as h, aiohttp.ClientSession() as client:
        body = bytes(range(256)) * 20_000
        for data in (io.BytesIO(body), chunks(body)):
            async with client.post(h.url("/predictions/m"), data=data) as response:
                assert await response.read() == body
        assert h.data.arrivals == 2


async def chunks(body: bytes) -> Any:
    for i in range(0, len(body), 70_000):
        yield body[i : i + 70_000]


@WAYS
async def test_the_dataplane_knows_of_a_body_on_its_way(method: str) -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(post("/predictions/m", b"12345", declared=10, method=method))
        await until(lambda: h.data.arriving == 1)
        assert h.data.payloads == []
        writer.write(b"67890")
        assert (await answer(reader))[1] == b"1234567890"
        assert h.data.arriving == 0


@WAYS
async def test_an_unknown_model_is_refused_before_its_body_is_read(method: str) -> None:
    async with running_front(Limits(linger=0.1)) as h:
        lines, body = head_and_body(await h.say(post("/predictions/nobody", b"x", declared=1000, method=method)))
        assert json.loads(body)["type"] == "ModelNotFoundException"
        assert "connection: close" in lines


async def test_expect_continue_is_honoured() -> None:
    async with running_front() as h:
        for api, path in (("inference", "/predictions/m"), ("management", "/models")):
            async with connect(h.port(api)) as (reader, writer):
                writer.write(post(path, b"", "Expect: 100-continue", declared=3))
                assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON) == b"HTTP/1.1 100 Continue\r\n\r\n"
                writer.write(b"abc")
                await answer(reader)
        assert h.data.payloads[0].parts[0].body == b"abc"


@WAYS
async def test_a_streamed_answer_arrives_piece_by_piece(method: str) -> None:
    steps: list[Sink] = []
    async with running_front(data=FakeDataPlane(behave=lambda payload, sink: steps.append(sink))) as h:
        async with connect(h.port()) as (reader, writer):
            writer.write(post("/predictions/m", method=method))
            await until(lambda: steps)
            steps[0].chunk(Reply(b"one"))
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)
            assert b"transfer-encoding: chunked" in head
            assert await asyncio.wait_for(reader.readexactly(8), SOON) == b"3\r\none\r\n"
            steps[0].done(Reply(b"two"))
            assert await asyncio.wait_for(reader.readexactly(13), SOON) == b"3\r\ntwo\r\n0\r\n\r\n"
            writer.write(post("/predictions/m", method=method))  # the connection is still good
            await until(lambda: len(steps) == 2)
            steps[1].done(Reply(b"whole"))
            assert (await answer(reader))[1] == b"whole"


async def test_a_broken_stream_is_seen_by_the_client() -> None:
    def behave(payload: Payload, sink: Sink) -> None:
        asyncio.get_running_loop().call_soon(sink.chunk, Reply(b"one"))
        asyncio.get_running_loop().call_soon(sink.fail, QueueFull("x"))

    async with running_front(data=FakeDataPlane(behave=behave)) as h, aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientError):
            async with client.post(h.url("/predictions/m")) as response:
                await response.read()
        await until(lambda: h.log)
        assert h.metrics.statuses == [500]


@WAYS
async def test_a_client_that_leaves_is_taken_out_of_the_queue(method: str) -> None:
    async with running_front(data=FakeDataPlane(behave=lambda payload, sink: None)) as h:
        async with connect(h.port()) as (_, writer):
            writer.write(post("/predictions/m", b"x", method=method))
            await until(lambda: h.data.payloads)
        await until(lambda: h.data.cancelled == 1)
        assert [entry.status for entry in h.log] == [499]


@WAYS
async def test_a_client_that_leaves_within_its_body_is_no_request(method: str) -> None:
    async with running_front() as h:
        async with connect(h.port()) as (_, writer):
            writer.write(post("/predictions/m", b"half", declared=100, method=method))
            await until(lambda: h.data.arriving)
        await until(lambda: h.log)
        assert h.data.payloads == []
        assert [entry.status for entry in h.log] == [499]


async def test_management_goes_on_when_its_client_leaves() -> None:
    go = asyncio.get_running_loop().create_future()
    control = FakeControlPlane(result=go)
    async with running_front(control=control) as h:
        async with connect(h.port("management")) as (_, writer):
            writer.write(b"DELETE /models/m HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: control.calls)
        await until(lambda: h.log)
        assert not go.cancelled()
        assert not await h.front.drain(0.05)  # the work counts as unfinished
        go.set_result("x")
        assert await h.front.drain(SOON)


# ---- draining


@WAYS
async def test_a_drain_answers_what_has_arrived_and_closes_behind_it(method: str) -> None:
    sinks: list[Sink] = []
    async with running_front(data=FakeDataPlane(behave=lambda payload, sink: sinks.append(sink))) as h:
        port = h.port()
        async with connect(port) as (reader, writer), connect(port) as (slow_reader, slow_writer):
            writer.write(post("/predictions/m", method=method))
            slow_writer.write(post("/predictions/m", b"ab", declared=4, method=method))
            await until(lambda: sinks and h.data.arriving)
            drain = asyncio.ensure_future(h.front.drain(SOON))
            await until(lambda: refused(port))
            assert not drain.done()
            slow_writer.write(b"cd")  # the half of a body that was on its way is waited for
            await until(lambda: len(sinks) == 2)
            for sink, each in zip(sinks, (reader, slow_reader), strict=True):
                sink.done(Reply(b"done"))
                lines, body = await answer(each)
                assert ("connection: close" in lines, body) == (True, b"done")
                assert await asyncio.wait_for(each.read(), SOON) == b""
            assert await drain


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def test_a_request_on_an_idle_connection_is_answered_during_a_drain() -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(GET_PING)
        await answer(reader)
        assert await h.front.drain(SOON)
        h.control.well = False
        writer.write(GET_PING)
        lines, body = await answer(reader)
        assert "connection: close" in lines
        assert b"Unhealthy" in body


async def test_a_request_that_was_only_just_parsed_counts_as_unanswered() -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(GET_PING)
        await answer(reader)
        (connection,) = h.front._aiohttp_servers[0].connections
        connection.data_received(GET_PING)
        assert h.front._busy()
        assert await h.front.drain(SOON)
        assert len(h.log) == 2


@WAYS
async def test_a_drain_is_bounded(method: str) -> None:
    async with (
        running_front(data=FakeDataPlane(behave=lambda payload, sink: None)) as h,
        connect(h.port()) as (reader, writer),
    ):
        writer.write(post("/predictions/m", method=method))
        await until(lambda: h.data.payloads)
        assert not await h.front.drain(0.05)
        await h.front.stop()
        assert await asyncio.wait_for(reader.read(), SOON) == b""


# ---- listening


async def test_faces_with_one_address_share_it() -> None:
    with kept_ports(1) as (port,):
        shared = Address("127.0.0.1", port)
        listen = {"inference": shared, "management": shared, "metrics": Address("127.0.0.1", 0)}
        async with running_front(listen=listen) as h, aiohttp.ClientSession() as client:
            assert h.port("inference") == h.port("management") == port != h.port("metrics")
            h.control.result = {"models": []}
            for path, status in (("/ping", 200), ("/models", 200), ("/metrics", 404)):
                async with client.get(h.url(path, "inference")) as response:
                    assert response.status == status


async def test_a_face_that_is_left_out_is_not_served() -> None:
    async with running_front(listen={"inference": Address("127.0.0.1", 0)}) as h:
        assert set(h.front.bound) == {"inference"}


@pytest.mark.parametrize("what", ["taken", "host"])
async def test_an_address_that_can_not_be_had_is_one_clear_line(what: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = Address("127.0.0.1", holder.getsockname()[1]) if what == "taken" else Address("192.0.2.1", 8080)
        free = Address("127.0.0.1", 0)
        running: list[RunningFront] = []
        with pytest.raises(InvalidConfig) as caught:
            async with running_front(listen={"inference": free, "management": taken}) as h:
                running.append(h)
        assert not running
        assert caught.value.message.startswith(f"management_address: can't listen on {taken}: ")
        assert ("another program listens there" in caught.value.message) == (what == "taken")
        assert "\n" not in caught.value.message


# ---- purity


def test_importing_the_front_loads_neither_torch_nor_the_scheduler() -> None:
    code = (
        "import sys, torchserve.http.front, http.client\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in {'torch', 'triton', 'ray'} or m.startswith('torchserve.scheduler')]\n"
        "assert not bad, bad\n"
        "assert http.client.HTTPConnection\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)
