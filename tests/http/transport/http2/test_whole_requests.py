"""A request whose head and body come together means what the two mean one after the other, and so does a whole answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchserve.http.transport.http2.errors import ErrorCode
from torchserve.http.transport.http2.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PADDED,
    PING,
    RST_STREAM,
    WINDOW_UPDATE,
    AnswerFrames,
    frame,
    header_frames,
    window_update,
)
from torchserve.http.transport.http2.header_block import encode_block
from torchserve.http.transport.http2.outbox import Outbox
from torchserve.http.transport.http2.stream import Stream

from .harness import ANSWER, REQUEST, Frame, Harness, Recorder, data, headers, only, setting

TRAILERS = (("a", "b"),)
WHOLE = AnswerFrames(encode_block(ANSWER), encode_block(TRAILERS))


class Takes(Recorder):
    """A handler that takes a body that has come with its head."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        if stream.whole is not None:
            self.calls.append("whole")
            self.body, self.trailers = bytes(stream.whole), ()
            stream.whole = None


class Answers(Recorder):
    """A handler that answers with what came, once all of it is there."""

    def ended(self, trailers: Any) -> None:
        super().ended(trailers)
        self.stream.send_answer(WHOLE, (b"=", self.body), 1 + len(self.body))


def known(harness: Harness) -> Harness:
    """Let the connection see the request's header block, so that it is remembered."""
    harness.say(headers(1, *REQUEST))
    harness.handlers.pop(1).stream.reset(ErrorCode.NO_ERROR)
    harness.out()
    harness.sent.clear()
    return harness


def request(stream: int, body: bytes) -> bytes:
    return headers(stream, *REQUEST, end=False) + data(stream, body, end=True)


def test_a_whole_request_is_there_when_the_application_is_called() -> None:
    harness = known(Harness())
    harness.make = Takes
    harness.say(request(3, b"body"))
    handler = harness.handlers[3]
    assert (handler.calls, handler.body, handler.stream.remote_ended) == (["whole"], b"body", True)
    handler.answer(b"fine")
    assert only(harness.out(), DATA).payload == b"fine"
    assert harness.connection.streams.open == {}


def test_a_handler_that_does_not_take_it_gets_it_as_ever() -> None:
    harness = known(Harness())
    harness.say(request(3, b"body"))
    assert (harness.handlers[3].calls, harness.handlers[3].body) == (["data", "ended"], b"body")


def test_an_application_that_fails_ends_this_request_alone(caplog: pytest.LogCaptureFixture) -> None:
    harness = known(Harness())

    def broken(_stream: Stream) -> Recorder:
        raise RuntimeError("broken")

    harness.make = broken
    assert only(harness.say(request(3, b"x")), RST_STREAM).code is ErrorCode.INTERNAL_ERROR
    assert "no handler came about" in caplog.text
    harness.make = Recorder
    harness.say(request(5, b"x"))
    assert harness.handlers[5].calls == ["data", "ended"]


def test_a_handler_that_fails_ends_this_request_alone() -> None:
    harness = known(Harness())

    class Fails(Recorder):
        def data_received(self, data: Any) -> None:
            raise RuntimeError("broken")

    harness.make = Fails
    assert only(harness.say(request(3, b"x")), RST_STREAM).code is ErrorCode.INTERNAL_ERROR
    assert harness.handlers[3].calls == ["aborted"]


def test_the_connection_s_window_is_opened_again() -> None:
    harness = known(Harness(connection_window=100_000, stream_window=70_000))
    sent: list[Frame] = []
    for stream in range(3, 13, 2):
        sent += harness.say(request(stream, bytes(30_000)))
        harness.handlers[stream].answer()
    assert sum(each.payload != b"" for each in sent if each.kind == WINDOW_UPDATE) >= 2
    assert harness.goaway is None


def test_no_more_requests_are_served_than_a_client_was_told() -> None:
    harness = known(Harness(max_streams=2))
    refused = only(harness.say(request(3, b"x"), request(5, b"x"), request(7, b"x")), RST_STREAM)
    assert (refused.stream, refused.code) == (7, ErrorCode.REFUSED_STREAM)
    assert sorted(harness.handlers) == [3, 5]


def test_a_whole_body_is_as_long_as_its_head_says() -> None:
    harness = Harness()

    def say(stream: int, body: bytes) -> list[Frame]:
        return harness.say(headers(stream, *REQUEST, ("content-length", "5"), end=False) + data(stream, body, end=True))

    for stream in (1, 3, 5):
        assert say(stream, b"12345") == []
        assert harness.handlers[stream].calls == ["data", "ended"]
    assert harness.handlers[5].stream.head is harness.handlers[3].stream.head
    assert only(say(7, b"1234"), RST_STREAM).code is ErrorCode.PROTOCOL_ERROR
    assert only(say(9, b"123456"), RST_STREAM).code is ErrorCode.PROTOCOL_ERROR


def test_padding_is_no_part_of_a_whole_body() -> None:
    harness = known(Harness())
    padded = frame(DATA, END_STREAM | PADDED, 3, b"\2body\0\0")
    harness.say(headers(3, *REQUEST, end=False) + padded)
    assert harness.handlers[3].body == b"body"


def test_whole_answers_take_no_more_than_the_connection_s_window() -> None:
    harness = known(Harness())
    harness.make = Answers
    sent: list[Frame] = []
    for stream in range(3, 63, 2):
        sent += harness.say(request(stream, bytes(3000)))
    assert sum(len(each.payload) for each in sent if each.kind == DATA) <= DEFAULT_WINDOW
    sent += harness.say(window_update(0, 10**6))
    assert sum(len(each.payload) for each in sent if each.kind == DATA) == 30 * 3001


# ---- whatever comes

BODIES = st.sampled_from([b"", b"x", b"12345", bytes(300), bytes(701)])
STREAMS = st.sampled_from([3, 5, 7, 7, 9, 11, 4, 1, 0x8000_0003])
EXTRAS = st.sampled_from([(), (("content-length", "5"),), (("a", "b"),), (("connection", "close"),)])


def spoken(stream: int, body: bytes, extra: Any, flags: tuple[int, int]) -> bytes:
    block = encode_block([*REQUEST, *extra])
    head = frame(HEADERS, flags[0], stream, block)
    return head + frame(DATA, flags[1], stream, body)


FLAGS = st.tuples(
    st.sampled_from([END_HEADERS, END_HEADERS, END_HEADERS, END_HEADERS | END_STREAM, 0]),
    st.sampled_from([END_STREAM, END_STREAM, END_STREAM, 0, END_STREAM | 0x40, END_STREAM | PADDED]),
)


def outcome(harness: Harness) -> tuple[Any, ...]:
    """What a client and the handlers see, without the windows of streams, which are opened for what is not there yet."""
    frames = [each for each in harness.sent if each.kind != WINDOW_UPDATE or not each.stream]
    handlers = {
        stream: (each.body, each.trailers is not None, each.aborted_by) for stream, each in harness.handlers.items()
    }
    shown = {stream: (*rest, str(error)) for stream, (*rest, error) in handlers.items()}
    return frames, shown, sorted(harness.connection.streams.open), harness.refused


@settings(max_examples=60)
@given(st.lists(st.tuples(STREAMS, BODIES, EXTRAS, FLAGS), max_size=8), st.integers(1, 4))
def test_what_comes_in_one_packet_means_what_it_means_in_pieces(
    asked: list[tuple[int, bytes, Any, tuple[int, int]]], most: int
) -> None:
    """Each request twice, so that its header block is known; once each packet whole, once a byte, or some, at a time."""
    found: list[tuple[Any, ...]] = []
    for size in (10**6, 400, 9):
        harness = Harness(max_streams=most, stream_window=700, connection_window=70_000)
        harness.make = Answers
        for extra in ((), (("content-length", "5"),), (("a", "b"),)):
            harness.say(headers(harness.connection.streams.last_id + 2 | 1, *REQUEST, *extra))
        for stream, body, extra, flags in asked:
            packet = spoken(stream + 6, body, extra, flags)
            for at in range(0, len(packet), size):
                harness.say(packet[at : at + size])
        found.append(outcome(harness))
    assert found[0] == found[1] == found[2]


# ---- requests whose bodies do not follow their heads at once

WIDEN = st.sampled_from([None, None, 1, 100_000, 2**31 - 1, 0])
EXTRA_FRAMES = st.sampled_from(
    [frame(PING, 0, 0, b"12345678"), window_update(0, 5), window_update(0, 0), setting(INITIAL_WINDOW_SIZE, 10),
     frame(RST_STREAM, 0, 9, b"\0\0\0\x08"), frame(0x77, 0, 9, b"unknown"), headers(11, *TRAILERS)]
)  # fmt: skip
ONE_REQUEST = st.tuples(st.sampled_from(((), (("content-length", "5"),))), WIDEN, BODIES, st.integers(0, 5))


def merged(asked: list[tuple[Any, ...]], picks: list[int], extras: list[tuple[int, bytes]]) -> list[bytes]:
    """Return the frames of these requests, the streams' among one another as `picks` say, and others in between."""
    left: list[list[bytes]] = []
    for at, (fields, widen, body, cut) in enumerate(asked):
        stream = 7 + 2 * at
        frames = [headers(stream, *REQUEST, *fields, end=False)]
        frames += [window_update(stream, widen)] if widen is not None else []
        frames += [data(stream, body, end=True)] if cut else [data(stream, body[:3]), data(stream, body[3:], end=True)]
        left.append(frames)
    made: list[bytes] = []
    for pick in picks + [0] * 30:
        open_ones = [each for each in left if each]
        if not open_ones:
            break
        # No head before that of a stream with a lower number.
        first_unbegun = next((at for at, each in enumerate(open_ones) if each[0][3] == HEADERS), len(open_ones) - 1)
        made.append(open_ones[pick % (first_unbegun + 1)].pop(0))
    for at, extra in extras:
        made.insert(at % (len(made) + 1), extra)
    return made


@settings(max_examples=150)
@given(
    st.lists(ONE_REQUEST, min_size=1, max_size=5),
    st.lists(st.integers(0, 4), max_size=12),
    st.lists(st.tuples(st.integers(0, 20), EXTRA_FRAMES), max_size=2),
    st.integers(1, 6),
)
def test_frames_of_many_requests_mean_together_what_they_mean_one_by_one(
    asked: list[tuple[Any, ...]], picks: list[int], extras: list[tuple[int, bytes]], most: int
) -> None:
    found: list[tuple[Any, ...]] = []
    frames = merged(asked, picks, extras)
    for packets in ([b"".join(frames)], frames):
        harness = Harness(max_streams=most, stream_window=700, connection_window=70_000)
        harness.make = Answers
        for extra in ((), (("content-length", "5"),)):
            harness.say(headers(harness.connection.streams.last_id + 2 | 1, *REQUEST, *extra))
        harness.handlers.clear()
        for packet in packets:
            harness.say(packet)
        windows = {stream: each.window for stream, each in harness.connection.streams.open.items()}
        found.append((*outcome(harness), windows))
    assert found[0] == found[1]


def test_requests_whose_heads_come_first_are_whole_when_the_application_is_called() -> None:
    harness = known(Harness())
    harness.make = Takes
    heads = [headers(stream, *REQUEST, end=False) for stream in (3, 5, 7)]
    harness.say(*heads, window_update(5, 10), data(5, b"five", end=True), data(3, b"three", end=True))
    assert {stream: each.body for stream, each in harness.handlers.items()} == {5: b"five", 3: b"three", 7: b""}
    assert [each.calls for each in harness.handlers.values()] == [["whole"], ["whole"], []]
    harness.say(data(7, b"seven", end=True))
    assert harness.handlers[7].calls == ["data", "ended"]


def test_a_window_that_is_opened_between_head_and_body_holds_for_the_answer() -> None:
    harness = known(Harness())
    harness.make = Answers
    harness.say(setting(INITIAL_WINDOW_SIZE, 10))
    sent = harness.say(headers(3, *REQUEST, end=False), window_update(3, 5), data(3, bytes(14), end=True))
    assert [len(each.payload) for each in sent if each.kind == DATA] == [15]
    sent = harness.say(headers(5, *REQUEST, end=False), window_update(5, 5), data(5, bytes(7)))
    sent += harness.say(data(5, bytes(7), end=True))
    assert [len(each.payload) for each in sent if each.kind == DATA] == [15], "also where the body comes later"


# ---- answers


class Threefold(Recorder):
    """A handler that answers as Answers does, by three calls."""

    def ended(self, trailers: Any) -> None:
        super().ended(trailers)
        self.stream.send_headers(ANSWER)
        self.stream.send((b"=", self.body))
        self.stream.send_trailers(TRAILERS)


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=6), st.sampled_from([0, 10, 2000, 100_000]), st.booleans())
def test_a_whole_answer_is_what_its_parts_are(sizes: list[int], window: int, blocked: bool) -> None:
    found: list[list[Frame]] = []
    for make in (Answers, Threefold):
        harness = Harness()
        harness.make = make
        harness.say(setting(INITIAL_WINDOW_SIZE, window))
        harness.connection.outbox.blocked = blocked
        for at, size in enumerate(sizes):
            harness.say(request(1 + 2 * at, bytes(size)))
        harness.connection.outbox.blocked = False
        harness.say(*(window_update(1 + 2 * at, 10**6) for at in range(len(sizes))))
        found.append(harness.sent)
        assert harness.connection.streams.open == {}
        assert harness.connection.outbox.waiting == 0
    assert found[0] == found[1]
    assert not [each for each in found[0] if each.kind in {RST_STREAM, GOAWAY}]


def test_the_frames_of_an_answer_are_those_of_its_parts() -> None:
    outbox = Outbox(lambda: None, 1000, lambda: None)
    outbox.put_headers(3, encode_block(ANSWER), 0)
    outbox.take()
    assert outbox.put_answer(5, WHOLE, (b"123", b"4567"), 7)
    parts = (
        header_frames(5, encode_block(ANSWER), 0, 2**14), frame(DATA, 0, 5, b"1234567"),
        header_frames(5, encode_block(TRAILERS), END_STREAM, 2**14),
    )  # fmt: skip
    assert b"".join(outbox.take()) == b"".join(parts)


def test_nothing_is_sent_behind_an_answer() -> None:
    harness = known(Harness())
    harness.make = Answers
    harness.say(request(3, b"x"))
    harness.handlers[3].stream.send_answer(WHOLE, (b"again",), 5)
    assert harness.out() == []
