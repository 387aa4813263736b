"""WebSockets on a running front: what a message, an answer, a sequence and a connection are, and what ends each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from torchserve.core.errors import HandlerFailed, QueueFull
from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits

from ..doubles import SOON, FakeDataPlane, RunningFront, Sink, running_front, until

PATH = "/predictions/m"


@asynccontextmanager
async def opened(h: RunningFront, path: str = PATH, **options: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession() as session, session.ws_connect(h.url(path), **options) as ws:
        yield ws


async def told(ws: aiohttp.ClientWebSocketResponse) -> tuple[WSMsgType, Any]:
    message = await ws.receive(SOON)
    return message.type, message.data


def statuses(h: RunningFront) -> list[tuple[str, int]]:
    return [(entry.method, entry.status) for entry in h.log]


async def test_each_message_is_a_request_and_its_answer_a_message_as_the_request_was():
    async with running_front() as h:
        async with opened(h, "/predictions/m/1.0") as ws:
            await ws.send_str("grün")
            await ws.send_bytes(b"\xff\x00")
            await ws.send_str("")
            assert [await told(ws) for _ in range(3)] == [
                (WSMsgType.TEXT, "grün"), (WSMsgType.BINARY, b"\xff\x00"), (WSMsgType.TEXT, ""),
            ]  # fmt: skip
        await until(lambda: len(h.log) == 4)
        assert statuses(h) == [("WebSocket", 200)] * 3 + [("GET", 101)]
        assert h.data.targets == [("m", "1.0")] * 3
        assert [each.parts[0].content_type for each in h.data.payloads] == [
            "text/plain", "application/octet-stream", "text/plain",
        ]  # fmt: skip
        names = {name.lower() for name in h.data.payloads[0].headers}
        assert not {name for name in names if name.startswith("sec-") or name in {"upgrade", "connection"}}


async def test_the_query_says_what_the_messages_are():
    async with running_front() as h:
        async with opened(h, PATH + "?content-type=application/json") as ws:
            await ws.send_str('{"a": 1}')
            assert await told(ws) == (WSMsgType.TEXT, '{"a": 1}')
            await ws.send_str("{")
            refused = json.loads((await told(ws))[1])
            assert (refused["code"], refused["type"]) == (400, "BadRequestException")
        assert h.data.payloads[0].parts[0].content_type == "application/json"


@pytest.mark.parametrize(
    ("content_type", "body", "kind"),
    [
        ("application/json", b"{}", WSMsgType.TEXT),
        ("application/problem+json; charset=utf-8", b"{}", WSMsgType.TEXT),
        ("text/html", b"<p>", WSMsgType.TEXT),
        ("text/plain", b"\xff", WSMsgType.BINARY),
        ("image/png", b"PNG", WSMsgType.BINARY),
    ],
)
async def test_an_answer_is_text_or_binary_by_its_content_type(content_type: str, body: bytes, kind: WSMsgType):
    def behave(_: Payload, sink: Sink) -> None:
        sink.done(Reply(body, content_type=content_type))

    async with running_front(data=FakeDataPlane(behave)) as h, opened(h) as ws:
        await ws.send_str("x")
        assert (await told(ws))[0] is kind


def in_pieces(payload: Payload, sink: Sink) -> None:
    """Answer with three pieces, one of them empty, and break off after the first if that is asked for."""
    sink.chunk(Reply(b"a"))
    if payload.parts[0].body == b"broken":
        sink.fail(HandlerFailed("no more", 500))
        return
    sink.chunk(Reply(b""))
    sink.done(Reply(b"b"))


async def test_a_stream_is_a_message_a_piece_and_an_empty_one_at_its_end():
    async with running_front(data=FakeDataPlane(in_pieces)) as h, opened(h) as ws:
        await ws.send_str("x")
        assert [(await told(ws))[1] for _ in range(3)] == ["a", "b", ""]
        await ws.send_str("broken")
        assert await told(ws) == (WSMsgType.TEXT, "a")
        assert json.loads((await told(ws))[1])["code"] == 500
        await ws.send_str("x")
        assert (await told(ws))[1] == "a", "the connection goes on"


async def test_in_the_envelope_text_is_the_servers_and_binary_the_models():
    async with running_front(data=FakeDataPlane(in_pieces)) as h:
        async with opened(h, protocols=["other", "torchserve.v1"]) as ws:
            assert ws.protocol == "torchserve.v1"
            await ws.send_str("x")
            head = json.loads((await told(ws))[1])
            assert (head["code"], head["stream"]) == (200, True)
            assert [await told(ws) for _ in range(2)] == [(WSMsgType.BINARY, b"a"), (WSMsgType.BINARY, b"b")]
            assert json.loads((await told(ws))[1]) == {"end": True}
            await ws.send_str("broken")
            _ = await told(ws), await told(ws)
            assert json.loads((await told(ws))[1])["error"]["code"] == 500
            h.data.behave = lambda _, sink: sink.fail(QueueFull("full"))
            await ws.send_str("x")
            head = json.loads((await told(ws))[1])
            assert (head["code"], head["stream"], head["contentType"]) == (503, False, "application/json")
            assert json.loads((await told(ws))[1])["message"] == "full"
        await until(lambda: len(h.log) == 4)
        assert statuses(h) == [("WebSocket", 200), ("WebSocket", 500), ("WebSocket", 503), ("GET", 101)]


async def test_an_error_is_an_answer_and_the_connection_goes_on():
    def behave(payload: Payload, sink: Sink) -> None:
        if payload.parts[0].body == b"full":
            raise QueueFull("The queue is full.")
        sink.done(Reply(payload.parts[0].body))

    async with running_front(data=FakeDataPlane(behave)) as h, opened(h) as ws:
        await ws.send_str("full")
        kind, text = await told(ws)
        assert kind is WSMsgType.TEXT
        assert json.loads(text) == {
            "code": 503, "type": "ServiceUnavailableException", "message": "The queue is full.",
        }  # fmt: skip
        await ws.send_str("x")
        assert (await told(ws))[1] == "x"


# ---- sequences


def marks(data: FakeDataPlane) -> list[tuple[str, str, str]]:
    return [
        tuple(each.headers.get(f"ts_request_sequence_{name}", "") for name in ("id", "start", "end"))
        for each in data.payloads
    ]  # type: ignore[misc]


async def test_a_connection_is_one_sequence_of_a_stateful_model():
    async with running_front(data=FakeDataPlane(statefully=True)) as h:
        for _ in range(2):
            async with opened(h) as ws:
                for _ in range(2):
                    await ws.send_str("x")
                    _ = await told(ws)
        await until(lambda: len(h.data.payloads) == 6)
        first, second = marks(h.data)[:3], marks(h.data)[3:]
        for made in (first, second):
            sequence = made[0][0]
            assert sequence.startswith("ts-seq-")
            assert made == [(sequence, "true", ""), (sequence, "", ""), (sequence, "", "true")]
        assert first[0][0] != second[0][0]
        assert h.data.payloads[2].parts[0].body == b""


async def test_a_client_names_its_sequence_and_may_keep_it():
    async with running_front(data=FakeDataPlane(statefully=True)) as h:
        headers = {"Ts-Request-Sequence-Id": "mine"}
        async with opened(h, PATH + "?sequence-end=false", headers=headers) as ws:
            await ws.send_str("x")
            _ = await told(ws)
        await until(lambda: len(h.log) == 2)
        assert marks(h.data) == [("mine", "true", "")]


async def test_a_sequence_that_was_refused_has_not_begun_and_one_that_its_handler_ends_is_followed_by_another():
    def behave(payload: Payload, sink: Sink) -> None:
        body = payload.parts[0].body
        if body == b"full":
            raise QueueFull("too many sequences")
        headers = (("ts_request_sequence_end", "true"),) if body == b"last" else ()
        asyncio.get_running_loop().call_soon(sink.done, Reply(b"", headers=headers))

    async with running_front(data=FakeDataPlane(behave, statefully=True)) as h:
        async with opened(h) as ws:
            for body in ("full", "x", "last", "x"):
                await ws.send_str(body)
                _ = await told(ws)
        await until(lambda: len(h.data.payloads) == 5)
        made = marks(h.data)
        assert [each[1:] for each in made] == [("true", ""), ("true", ""), ("", ""), ("true", ""), ("", "true")]
        assert made[0][0] == made[2][0] != made[3][0] == made[4][0]


# ---- the end


def never(_: Payload, sink: Sink) -> None:
    """Leave the request without an answer."""


@pytest.mark.parametrize("politely", [True, False])
async def test_a_client_that_leaves_takes_its_requests_with_it(politely: bool):
    async with running_front(data=FakeDataPlane(never, statefully=True)) as h:
        async with opened(h) as ws:
            await ws.send_str("runs")
            await ws.send_str("waits")
            await until(lambda: h.data.payloads)
            await ws.ping()
            if not politely:
                ws._response.connection.transport.abort()  # type: ignore[union-attr]
        await until(lambda: ("GET", 101) in statuses(h))
        assert h.data.cancelled == 1
        assert marks(h.data)[-1][2] == "true", "the model is told that the sequence is over"
        assert statuses(h)[0] == ("WebSocket", 499)


async def test_a_drain_sends_the_answers_of_what_has_arrived_and_then_goes_away():
    waiting: list[Sink] = []
    async with running_front(data=FakeDataPlane(lambda _, sink: waiting.append(sink))) as h:
        async with opened(h) as ws, opened(h) as idle:
            await ws.send_str("x")
            await until(lambda: waiting)
            draining = asyncio.ensure_future(h.front.drain(SOON))
            assert await told(idle) == (WSMsgType.CLOSE, 1001)
            waiting.pop().done(Reply(b"late"))
            assert [await told(ws) for _ in range(2)] == [(WSMsgType.TEXT, "late"), (WSMsgType.CLOSE, 1001)]
            assert await draining


async def test_pings_are_answered_while_a_request_runs_and_a_silent_client_is_asked():
    async with running_front(Limits(ping=0.05, pong=SOON), FakeDataPlane(never)) as h:
        async with opened(h, autoping=False) as ws:
            await ws.send_str("x")
            await until(lambda: h.data.payloads)
            await ws.ping(b"there?")
            seen = [await told(ws) for _ in range(2)]
            assert (WSMsgType.PONG, b"there?") in seen
            assert (WSMsgType.PING, b"") in seen


async def test_a_client_that_does_not_answer_pings_is_ended():
    async with running_front(Limits(ping=0.05, pong=0.05)) as h:
        async with opened(h, autoping=False) as ws:
            assert await told(ws) == (WSMsgType.PING, b"")
            assert (await told(ws))[0] in {WSMsgType.CLOSED, WSMsgType.ERROR}
        assert statuses(h) == [("GET", 101)]


async def test_an_idle_connection_makes_room_for_others():
    async with running_front() as h, opened(h) as ws:
        await ws.send_str("x")
        _ = await told(ws)
        await until(lambda: h.front.shed(1) == 1)
        assert await told(ws) == (WSMsgType.CLOSE, 1013)


async def test_nothing_is_read_beyond_a_bound_while_a_request_runs():
    limits = Limits(ahead=2)
    waiting: list[Sink] = []
    async with running_front(limits, FakeDataPlane(lambda _, sink: waiting.append(sink))) as h, opened(h) as ws:
        sending = asyncio.ensure_future(_send_many(ws, 200, b"x" * 100_000))
        await until(lambda: waiting)
        # The kernel takes some, and after that the client is held up: this many bytes are not the server's.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(sending), 0.2)
        assert h.data.held < 10 * 100_000
        assert len(h.data.payloads) == 1
        for _ in range(200):
            await until(lambda: waiting)
            waiting.pop().done(Reply(b"."))
            assert (await told(ws))[1] == b"."
        await sending
    assert h.data.held == 0


async def _send_many(ws: aiohttp.ClientWebSocketResponse, count: int, body: bytes) -> None:
    for _ in range(count):
        await ws.send_bytes(body)


async def test_a_client_that_takes_nothing_is_ended():
    def behave(_: Payload, sink: Sink) -> None:
        sink.done(Reply(b"x" * 40_000_000))

    async with running_front(Limits(write_stall=0.1), FakeDataPlane(behave)) as h:
        async with aiohttp.ClientSession() as session, session.ws_connect(h.url(PATH), max_msg_size=0) as ws:
            transport: Any = ws._response.connection.transport  # type: ignore[union-attr]
            transport.pause_reading()
            for _ in range(4):
                await ws.send_str("x")
            await until(lambda: ("GET", 101) in statuses(h))
            assert len(h.data.payloads) == 1, "the next is not begun before the answer is taken"
            transport.abort()
