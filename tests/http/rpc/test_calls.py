"""Each call has one status, one line in the log and one count, whatever the client sends and whatever breaks."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import QueueFull
from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits
from torchserve.http.rpc.framing import frame
from torchserve.http.rpc.status import Code, counted_as
from torchserve.http.transport.http2.errors import StreamAborted

from ..doubles import FakeDataPlane, Sink, until
from .doubles import PREDICTIONS, SEQUENCES, STREAM, Called, Desk, Request

ONE = Request(model_name="m", input={"data": b"hello"})


def at_once(payload: Payload, sink: Sink) -> None:
    sink.done(Reply(payload.parts[0].body if payload.parts else b""))


def never(_payload: Payload, _sink: Sink) -> None:
    pass


def quick(**options: Any) -> Desk:
    return Desk(FakeDataPlane(behave=at_once), **options)


def booked(desk: Desk, call: Called) -> None:
    """A call that has ended is in the books, once."""
    assert call.stream.ended
    assert [entry.status for entry in desk.log] == [int(Code.CANCELLED if call.code is None else call.code)]
    assert desk.metrics.statuses == [counted_as(Code(desk.log[0].status))]
    assert desk.data.arriving == 0


async def test_a_prediction_is_answered_and_logged_as_torchserve_does() -> None:
    desk = quick()
    call = desk.call().say(ONE)
    assert [each.prediction for each in call.messages()] == [b"hello"]
    assert call.code == Code.OK
    booked(desk, call)
    text = desk.log[0].text()
    assert text.startswith(
        '/127.0.0.1:1234 "gRPC org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions HTTP/2.0" 0 '
    )


async def test_how_long_a_prediction_took_is_told_to_its_model() -> None:
    desk = Desk()
    call = desk.call().say(ONE)
    await until(lambda: call.code is not None)
    (seconds,) = desk.data.ends
    assert isinstance(seconds, float)


async def test_the_handler_gets_bytes_by_name_and_the_metadata() -> None:
    desk = quick()
    asked = Request(model_name="m", model_version="1.0", input={"b": b"2", "a": b"1"})
    desk.call(x_mine="yes", authorization="Bearer k", x_blob_bin="AQI", grpc_accept_encoding="identity").say(asked)
    (payload,) = desk.data.payloads
    assert {(part.name, part.content_type, bytes(part.body)) for part in payload.parts} == {
        ("a", "", b"1"),
        ("b", "", b"2"),
    }
    assert payload.headers == {"x-mine": "yes", "authorization": "Bearer k", "x-blob-bin": "AQI"}
    assert desk.data.targets == [("m", "1.0")]


@pytest.mark.parametrize("cut", range(1, 25))
async def test_a_message_may_come_in_any_pieces(cut: int) -> None:
    desk = quick()
    call, data = desk.call(), ONE.SerializeToString()
    whole = frame(len(data)) + data
    for at in range(0, len(whole), cut):
        call.raw(whole[at : at + cut])
    call.end()
    assert call.messages()[0].prediction == b"hello"
    assert call.stream.taken == len(whole)
    booked(desk, call)


# What a client sends -> the code, and what its text has.
WRONG: dict[str, tuple[Callable[[Desk], Called], Code, str]] = {
    "no message": (lambda desk: desk.call().end(), Code.INTERNAL, "has none"),
    "two messages": (lambda desk: desk.call().say(ONE, ONE), Code.INTERNAL, "has several"),
    "half a message": (lambda desk: desk.call().raw(b"\0\0\0\0\5ab").end(), Code.INTERNAL, "within a message"),
    "half a prefix": (lambda desk: desk.call().raw(b"\0\0").end(), Code.INTERNAL, "within a message"),
    "no protobuf": (lambda desk: desk.call().say(b"\xff\xff\xff"), Code.INVALID_ARGUMENT, "not the message"),
    "name that is no UTF-8": (lambda desk: desk.call().say(b"\x0a\x01\xff"), Code.INVALID_ARGUMENT, "not UTF-8"),
    "too large": (lambda desk: desk.call().raw(frame(101)), Code.RESOURCE_EXHAUSTED, "101 bytes and at most 100"),
    "bomb": (
        lambda desk: desk.call(grpc_encoding="gzip").raw(
            b"\1" + len(gzip.compress(bytes(5000))).to_bytes(4) + gzip.compress(bytes(5000))
        ),
        Code.RESOURCE_EXHAUSTED, "more than the 100 bytes",
    ),
    "compressed, and not said": (lambda desk: desk.call().raw(b"\1\0\0\0\0"), Code.INTERNAL, "does not say how"),
    "other compression": (
        lambda desk: desk.call(grpc_encoding="snappy").say(ONE), Code.UNIMPLEMENTED, "gzip or deflate, and with nothing else"
    ),
    "unknown method": (
        lambda desk: desk.call("/a.B/Nope").say(ONE), Code.UNIMPLEMENTED, "Method not found: a.B/Nope"
    ),
    "GET": (lambda desk: desk.call(method="GET").end(), Code.INTERNAL, "is a POST"),
    "bad deadline": (lambda desk: desk.call(grpc_timeout="1x").say(ONE), Code.INVALID_ARGUMENT, "grpc-timeout"),
    "bad priority": (
        lambda desk: desk.call(x_request_priority="11").say(ONE), Code.INVALID_ARGUMENT, "x-request-priority"
    ),
    "page of a foreign site": (
        lambda desk: desk.call(origin="http://evil.example").say(ONE), Code.PERMISSION_DENIED, "Web pages"
    ),
    "unknown model": (
        lambda desk: desk.call().say(Request(model_name="x")), Code.NOT_FOUND, "Model not found: x\norg.pytorch"
    ),
    "unknown version": (
        lambda desk: desk.call().say(Request(model_name="m", model_version="9")), Code.NOT_FOUND, "Model version: 9"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_with_a_call_is_its_status(name: str) -> None:
    make, code, text = WRONG[name]
    desk = Desk(FakeDataPlane(behave=never), limits=Limits(max_request_size=100))
    call = make(desk)
    assert call.code == code
    assert text in call.text
    booked(desk, call)
    if code == Code.UNIMPLEMENTED:
        assert call.stream.trailers is not None
        assert call.stream.trailers["grpc-accept-encoding"] == "identity,gzip,deflate"


async def test_without_a_model_the_only_one_is_meant() -> None:
    desk = quick()
    assert desk.call().say(Request(input={"data": b"1"})).code == Code.OK
    assert desk.data.targets == [("m", None)]
    desk.data.startup = ("m", "n")
    call = desk.call().say(Request(input={"data": b"1"}))
    assert call.code == Code.INVALID_ARGUMENT
    assert call.text.startswith("Parameter model_name is required.")


async def test_a_request_that_is_no_call_is_told_so() -> None:
    desk = quick()
    call = desk.call(content_type="application/json")
    call.raw(b"{}").end()
    assert call.stream.headers is not None
    assert dict(call.stream.headers)[":status"] == "415"


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=x"])
async def test_all_spellings_of_the_content_type_are_known(kind: str) -> None:
    assert quick().call(content_type=kind).say(ONE).code == Code.OK


async def test_a_compressed_message_is_read() -> None:
    desk, data = quick(), gzip.compress(ONE.SerializeToString())
    call = desk.call(grpc_encoding="gzip").raw(b"\1" + len(data).to_bytes(4) + data).end()
    assert call.messages()[0].prediction == b"hello"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1H", 3600.0), ("2M", 120.0), ("3S", 3.0), ("40m", 0.04), ("5000u", 0.005), ("60000000n", 0.06), ("0m", 0.0)],
)
async def test_the_deadline_is_the_request_s(text: str, seconds: float) -> None:
    desk = quick()
    call = desk.call(grpc_timeout=text).say(ONE)
    assert desk.data.payloads[0].timeout == pytest.approx(seconds)
    assert call.code == Code.OK


async def test_the_stricter_of_two_deadlines_counts() -> None:
    desk = quick()
    desk.call(grpc_timeout="1S", x_request_timeout_ms="20").say(ONE)
    desk.call(grpc_timeout="10m", x_request_timeout_ms="20").say(ONE)
    assert [payload.timeout for payload in desk.data.payloads] == [0.02, 0.01]


async def test_a_call_ends_at_its_deadline_and_leaves_the_queue() -> None:
    desk = Desk(FakeDataPlane(behave=never))
    call = desk.call(grpc_timeout="20m").say(ONE)
    assert call.code is None
    await until(lambda: call.code is not None)
    assert call.code == Code.DEADLINE_EXCEEDED
    assert desk.data.cancelled == 1
    booked(desk, call)


@pytest.mark.parametrize("path", [PREDICTIONS, STREAM, SEQUENCES])
async def test_a_client_that_leaves_takes_its_request_out_of_the_queue(path: str) -> None:
    desk = Desk(FakeDataPlane(behave=never, statefully=True))
    call = desk.call(path).say(Request(model_name="m", sequence_id="s"), end=False)
    call.leave()
    assert desk.data.cancelled == 1
    booked(desk, call)
    call.handler.aborted(StreamAborted(None, "again"))
    call.handler.ended(())
    booked(desk, call)


async def test_an_answer_that_comes_after_the_client_has_left_is_dropped() -> None:
    sinks: list[Sink] = []
    desk = Desk(FakeDataPlane(behave=lambda _, sink: sinks.append(sink)))
    call = desk.call(STREAM).say(ONE)
    sinks[0].chunk(Reply(b"1"))
    call.leave()
    sinks[0].chunk(Reply(b"2"))
    sinks[0].done(Reply(b"3"))
    sinks[0].fail(QueueFull("x"))
    assert [each.prediction for each in call.messages()] == [b"1"]
    booked(desk, call)


async def test_a_refusal_says_when_to_come_again() -> None:
    def full(_payload: Payload, _sink: Sink) -> None:
        raise QueueFull("full", retry_after=1.5)

    call = Desk(FakeDataPlane(behave=full)).call().say(ONE)
    assert call.code == Code.RESOURCE_EXHAUSTED
    assert call.stream.trailers is not None
    assert call.stream.trailers["grpc-retry-pushback-ms"] == "1500"


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\0\0\0\0\5"])
async def test_a_call_without_its_message_is_given_up(sent: bytes) -> None:
    desk = quick(limits=Limits(body_idle=0.05))
    call = desk.call().raw(sent)
    await until(lambda: call.code is not None)
    assert call.code == Code.DEADLINE_EXCEEDED
    booked(desk, call)


async def test_a_body_that_stalls_is_given_up() -> None:
    desk = quick(limits=Limits(body_idle=0.05))
    call = desk.call().raw(b"\0\0\0\0\5ab")
    assert desk.data.arriving == 1
    assert desk.data.held == 2
    await until(lambda: call.code is not None)
    assert call.code == Code.DEADLINE_EXCEEDED
    assert "0.05 s" in call.text
    booked(desk, call)
    assert desk.data.held == 0


async def test_bytes_that_arrive_are_counted_for_the_whole_server() -> None:
    desk = quick()
    desk.data.most = 3
    call = desk.call().raw(b"\0\0\0\0\5abc")
    assert call.code is None
    call.raw(b"d")
    assert call.code == Code.RESOURCE_EXHAUSTED
    booked(desk, call)


async def test_a_large_message_is_put_where_the_workers_read_it() -> None:
    desk, data = quick(), ONE.SerializeToString()
    room = memoryview(bytearray(len(data)))
    desk.data.rooms.append(room)
    call = desk.call().raw(frame(len(data)) + data[:-2])
    call.raw(data[-2:]).end()
    body = desk.data.payloads[0].parts[0].body
    assert isinstance(body, memoryview)
    assert body.obj is room.obj
    assert call.messages()[0].prediction == b"hello"


async def test_heads_that_come_again_are_read_once_and_keys_are_asked_for_each_time() -> None:
    class Auth:
        asked = 0

        def check(self, scope: str, fields: object) -> None:
            assert scope == "inference"
            self.asked += 1

    auth = Auth()
    desk = quick(options={"token_auth": auth})
    first = desk.call()
    read = first.stream.head.memo
    assert read is not None
    assert desk.again(first.stream.head).stream.head.memo is read
    assert auth.asked == 2


@given(st.lists(st.binary(max_size=30), max_size=5), st.booleans())
def test_whatever_bytes_come_the_call_ends_once(pieces: list[bytes], ends: bool) -> None:
    async def play() -> None:
        desk = quick(limits=Limits(max_request_size=50))
        call = desk.call()
        for each in pieces:
            call.raw(each)
        call.end() if ends else call.leave()
        if call.stream.trailers is None:
            assert not ends
        booked(desk, call)

    asyncio.run(play())


@pytest.mark.parametrize(("text", "seconds"), [("5S", 5.0), ("7S", 7.0), ("xS", None)])
async def test_a_call_that_differs_in_its_deadline_alone_has_its_own(text: str, seconds: float | None) -> None:
    desk = quick()
    first = desk.call(grpc_timeout="9S", x_mine="yes").say(ONE)
    head = first.stream.head
    at = [name for name, _ in head.fields].index("grpc-timeout")
    second = desk.again(head.with_value(at, text)).say(ONE)
    assert desk.data.payloads[0].timeout == 9.0
    if seconds is None:
        assert second.code == Code.INVALID_ARGUMENT
        return
    assert desk.data.payloads[1].timeout == seconds
    assert desk.data.payloads[1].headers is desk.data.payloads[0].headers, "its metadata were not read again"
