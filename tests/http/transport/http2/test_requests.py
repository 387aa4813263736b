"""Requests and answers (RFC 9113, section 8): what a handler gets, what is malformed, and what is sent."""

from __future__ import annotations

import logging

import pytest

from torchserve.core.payload import Body
from torchserve.http.transport.http2.errors import ErrorCode as Code
from torchserve.http.transport.http2.errors import StreamAborted
from torchserve.http.transport.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PRIORITIZED,
    RST_STREAM,
    WINDOW_UPDATE,
    frame,
)
from torchserve.http.transport.http2.header_block import encode_block
from torchserve.http.transport.http2.stream import Stream

from .harness import ANSWER, REQUEST, Harness, Recorder, cut, data, headers, number, only

BLOCK = encode_block(REQUEST)


def without(name: str) -> tuple[tuple[str, str], ...]:
    return tuple(each for each in REQUEST if each[0] != name)


MALFORMED = {
    "8.2.1 a name in upper case": (*REQUEST, ("X-A", "b")),
    "8.2.1 a name with a space": (*REQUEST, ("x a", "b")),
    "8.2.1 an empty name": (*REQUEST, ("", "b")),
    "8.2.1 a value with a line feed": (*REQUEST, ("a", "b\nc")),
    "8.2.1 a value with a zero": (*REQUEST, ("a", "b\0")),
    "8.2.1 a value with a space before it": (*REQUEST, ("a", " b")),
    "8.2.1 a value with a tab behind it": (*REQUEST, ("a", "b\t")),
    "8.2.2 connection": (*REQUEST, ("connection", "keep-alive")),
    "8.2.2 proxy-connection": (*REQUEST, ("proxy-connection", "keep-alive")),
    "8.2.2 keep-alive": (*REQUEST, ("keep-alive", "5")),
    "8.2.2 transfer-encoding": (*REQUEST, ("transfer-encoding", "chunked")),
    "8.2.2 upgrade": (*REQUEST, ("upgrade", "h2c")),
    "8.2.2 te of another value": (*REQUEST, ("te", "trailers, deflate")),
    "8.3 an unknown pseudo-header": (*REQUEST, (":test", "x")),
    "8.3 the pseudo-header of an answer": (*REQUEST, (":status", "200")),
    "8.3 a pseudo-header behind a field": (*without(":path"), ("a", "b"), (":path", "/")),
    "8.3.1 an empty :path": (*without(":path"), (":path", "")),
    "8.3.1 no :path": without(":path"),
    "8.3.1 no :method": without(":method"),
    "8.3.1 no :scheme": without(":scheme"),
    "8.3.1 two :path": (*REQUEST, (":path", "/y")),
    "8.3.1 two :method": (*REQUEST, (":method", "GET")),
    "8.3.1 two :scheme": (*REQUEST, (":scheme", "http")),
    "8.3.1 a :path without a slash": (*without(":path"), (":path", "x")),
    "8.3.1 a :path with a space": (*without(":path"), (":path", "/x HTTP/1.1")),
    "8.3.1 * for a POST": (*without(":path"), (":path", "*")),
    "8.3.1 a :method that is no token": (*without(":method"), (":method", "GE T")),
    "8.3.1 user information": (*without(":authority"), (":authority", "me@here")),
    "8.1.1 a content-length that is no number": (*REQUEST, ("content-length", "+1")),
    "8.1.1 two content-lengths": (*REQUEST, ("content-length", "0"), ("content-length", "1")),
    "8.1.1 a content-length without DATA": (*REQUEST, ("content-length", "1")),
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_never_gets_to_the_application(fields: tuple[tuple[str, str], ...]) -> None:
    harness = Harness()
    reset = only(harness.say(headers(1, *fields)), RST_STREAM)
    assert reset.code is Code.PROTOCOL_ERROR
    assert harness.handlers == {}
    assert [status for status, _ in harness.refused] == [400]
    harness.request(3).answer(b"fine")
    assert only(harness.out(), DATA).payload == b"fine"


LENGTHS = {
    "more DATA than declared": ("1", [data(1, b"xy", end=True)]),
    "more DATA than declared, in two": ("1", [data(1, b"x"), data(1, b"y", end=True)]),
    "less DATA than declared": ("3", [data(1, b"xy", end=True)]),
    "less DATA than declared, in two": ("3", [data(1, b"x"), data(1, b"y", end=True)]),
    "less DATA than declared, and trailers": ("3", [data(1, b"x"), headers(1, ("a", "b"))]),
}


@pytest.mark.parametrize(("length", "body"), LENGTHS.values(), ids=LENGTHS)
def test_a_body_that_is_not_as_long_as_declared_is_malformed(length: str, body: list[bytes]) -> None:
    harness = Harness()
    handler = harness.request(1, ("content-length", length), end=False)
    reset = only(harness.say(*body), RST_STREAM)
    assert reset.code is Code.PROTOCOL_ERROR
    assert handler.calls[-1] == "aborted"
    assert handler.aborted_by is not None
    assert handler.aborted_by.code is None
    assert "ended" not in handler.calls


def test_a_handler_gets_head_body_and_trailers_in_order() -> None:
    harness = Harness()
    fields = (("te", "trailers"), ("content-length", "6"), ("a", "1"), ("a", "2"), ("cookie", "x=1"), ("cookie", "y=2"))
    handler = harness.request(1, *fields, end=False)
    head = handler.stream.head
    assert (head.method, head.path, head.scheme, head.authority, head.length) == ("POST", "/x", "http", "here", 6)
    assert head.fields == fields
    assert (head.headers["a"], head.headers["cookie"]) == ("1, 2", "x=1; y=2")
    harness.say(data(1, b"abc"), data(1, b"def"))
    assert handler.trailers is None
    harness.say(headers(1, ("b", "c"), ("empty", "")))
    assert (handler.body, handler.trailers) == (b"abcdef", (("b", "c"), ("empty", "")))
    assert handler.calls == ["data", "data", "ended"]


def test_an_options_request_may_be_for_all_paths() -> None:
    harness = Harness()
    fields = ((":method", "OPTIONS"), (":scheme", "https"), (":path", "*"))
    assert harness.request(1, base=fields).stream.head.path == "*"


def test_a_host_stands_in_for_a_missing_authority() -> None:
    harness = Harness()
    assert harness.request(1, ("host", "there"), base=without(":authority")).stream.head.authority == "there"


def test_a_block_comes_in_pieces_with_padding_and_a_priority() -> None:
    harness = Harness()
    first = b"\x03" + number(0) + b"\x10" + BLOCK[:5] + bytes(3)
    harness.say(
        frame(HEADERS, PADDED | PRIORITIZED, 1, first), frame(CONTINUATION, 0, 1, b""),
        frame(CONTINUATION, END_HEADERS, 1, BLOCK[5:]),
    )  # fmt: skip
    assert harness.handlers[1].stream.head.path == "/x"
    harness.say(frame(DATA, PADDED | END_STREAM, 1, b"\x04body" + bytes(4)))
    assert (harness.handlers[1].body, harness.handlers[1].trailers) == (b"body", ())


@pytest.mark.parametrize("size", [1, 2, 7, 10, 13])
def test_it_does_not_matter_how_the_bytes_are_cut(size: int) -> None:
    harness = Harness()
    said = b"".join(
        (headers(1, *REQUEST, end=False), data(1, b"abc"), frame(DATA, PADDED, 1, b"\x02d" + bytes(2)),
         headers(1, ("t", "u")))
    )  # fmt: skip
    for at in range(0, len(said), size):
        harness.say(said[at : at + size])
    assert (harness.handlers[1].body, harness.handlers[1].trailers) == (b"abcd", (("t", "u"),))
    assert harness.goaway is None


def test_large_pieces_are_views_and_small_ones_copies_of_what_came() -> None:
    harness = Harness()
    kinds: list[type] = []
    handler = harness.request(1, end=False)
    handler.data_received = lambda piece: kinds.append(type(piece))  # type: ignore[method-assign]
    harness.say(data(1, bytes(10)), data(1, bytes(10_000)))
    assert kinds == [bytes, memoryview]


def test_a_whole_answer_is_one_write_and_so_are_the_answers_to_one_packet() -> None:
    harness = Harness()
    harness.make = AnswersAtOnce
    harness.connection.outbox.awake = True  # as the driver has it while it reads
    harness.connection.receive(b"".join(headers(each, *REQUEST) for each in (1, 3, 5)), 0.0)
    assert harness.woken == 1  # by SETTINGS, at the beginning
    found = cut(b"".join(harness.connection.outbox.take()))
    assert [(each.kind, each.stream) for each in found] == [
        (kind, stream) for stream in (1, 3, 5) for kind in (HEADERS, DATA, HEADERS)
    ]
    harness.connection.receive(headers(7, *REQUEST), 0.0)
    assert harness.woken == 2


class AnswersAtOnce(Recorder):
    def ended(self, trailers: object) -> None:
        self.stream.send_headers(ANSWER)
        self.stream.send((b"a", b"b"))
        self.stream.send_trailers((("t", "u"),))


ENDS = {
    "headers alone": (lambda stream: stream.send_headers(ANSWER, end=True), [(HEADERS, True)]),
    "headers and body": (
        lambda stream: (stream.send_headers(ANSWER), stream.send((b"x",), end=True)), [(HEADERS, False), (DATA, True)],
    ),
    "an empty end": (
        lambda stream: (stream.send_headers(ANSWER), stream.send((), end=True)), [(HEADERS, False), (DATA, True)],
    ),
    "trailers alone": (lambda stream: stream.send_trailers(ANSWER), [(HEADERS, True)]),
    "an interim answer": (
        lambda stream: (stream.send_headers(((":status", "100"),)), stream.send_headers(ANSWER, end=True)),
        [(HEADERS, False), (HEADERS, True)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "expected"), ENDS.values(), ids=ENDS)
def test_an_answer_ends_with_its_last_frame(answer: object, expected: list[tuple[int, bool]]) -> None:
    harness = Harness()
    handler = harness.request(1)
    answer(handler.stream)  # type: ignore[operator]
    handler.stream.send((b"too late",))
    handler.stream.send_headers(ANSWER)
    handler.stream.send_trailers(ANSWER)
    handler.stream.reset(Code.CANCEL)
    assert [(each.kind, bool(each.flags & END_STREAM)) for each in harness.out()] == expected
    assert handler.stream.ended
    assert harness.connection.streams.open == {}


def test_a_long_header_block_is_sent_in_pieces() -> None:
    harness = Harness()
    harness.request(1).stream.send_headers((*ANSWER, ("a", "b" * 40_000)), end=True)
    found = harness.out()
    assert [(each.kind, each.flags, len(each.payload)) for each in found[:2]] == [
        (HEADERS, END_STREAM, 16384), (CONTINUATION, 0, 16384),
    ]  # fmt: skip
    assert (found[2].kind, found[2].flags) == (CONTINUATION, END_HEADERS)


def test_the_client_resets_a_stream() -> None:
    harness = Harness()
    handler = harness.request(1)
    handler.stream.send_headers(ANSWER)
    harness.out()
    harness.say(frame(RST_STREAM, 0, 1, number(Code.CANCEL)))
    assert handler.aborted_by is not None
    assert handler.aborted_by.code == Code.CANCEL
    handler.answer(b"late")
    assert harness.out() == []


def test_a_lost_connection_aborts_the_streams_that_have_no_whole_answer() -> None:
    harness = Harness()
    answered, open_one = harness.request(1), harness.request(3)
    answered.answer(b"x")
    harness.connection.lost()
    assert (answered.calls, open_one.calls) == (["ended"], ["ended", "aborted"])
    open_one.answer(b"late")
    assert harness.connection.streams.open == {}


def test_a_body_behind_its_answer_is_let_come_for_a_while_and_is_then_stopped() -> None:
    harness = Harness()
    handler = harness.request(1, end=False)
    handler.answer(b"enough")
    harness.out()
    assert only(harness.say(data(1, bytes(1000))), WINDOW_UPDATE).payload == number(1000)
    assert handler.body == b""
    reset = only(harness.look(3.0), RST_STREAM)
    assert reset.code is Code.NO_ERROR
    assert harness.say(data(1, bytes(1000), end=True)) == []
    again = harness.request(3, end=False)
    again.answer()
    harness.say(data(3, b"", end=True))
    assert [each.kind for each in harness.look(3.0)] == []


class Fails(Recorder):
    def data_received(self, data: Body) -> None:
        raise ZeroDivisionError


def failing(_stream: Stream) -> Recorder:
    raise ZeroDivisionError


@pytest.mark.parametrize("make", [Fails, failing])
def test_what_an_application_raises_ends_its_stream(make: object, caplog: pytest.LogCaptureFixture) -> None:
    harness = Harness()
    harness.make = make  # type: ignore[assignment]
    with caplog.at_level(logging.ERROR):
        found = harness.say(headers(1, *REQUEST, end=False), data(1, b"x"))
    assert only(found, RST_STREAM).code is Code.INTERNAL_ERROR
    assert "ZeroDivisionError" in caplog.text
    for handler in harness.handlers.values():
        assert isinstance(handler.aborted_by, StreamAborted)
    harness.make = Recorder
    harness.request(3).answer(b"fine")
    assert only(harness.out(), DATA).payload == b"fine"


@pytest.mark.parametrize(
    ("base", "fields", "status"),
    [
        (((":method", "CONNECT"), (":authority", "there:443")), (), 405),
        (REQUEST, (("a", "b" * 9000),), 431),
        (REQUEST, tuple((f"a{number}", "b") for number in range(200)), 431),
        (REQUEST, tuple((f"a{number}", "b" * 800) for number in range(100)), 431),
    ],
)
def test_what_is_not_served_has_a_status(
    base: tuple[tuple[str, str], ...], fields: tuple[tuple[str, str], ...], status: int
) -> None:
    harness = Harness(max_block=1 << 20)
    answer = only(harness.say(headers(1, *base, *fields)), HEADERS)
    assert answer.flags & END_STREAM
    assert str(status).encode() in answer.payload
    assert [each for each, _ in harness.refused] == [status]
    assert harness.handlers == {}
    assert harness.goaway is None
