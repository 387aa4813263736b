"""What one client may cost: every limit of a connection, its refusal and its text. Time is virtual."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from torchserve.http.message.limits import Limits
from torchserve.http.transport.http2 import frames
from torchserve.http.transport.http2.errors import ErrorCode as Code
from torchserve.http.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)

from .harness import ANSWER, REQUEST, Harness, Recorder, data, headers, number, only, setting


def test_streams_beyond_the_limit_are_refused_and_may_be_sent_again() -> None:
    harness = Harness(max_streams=2)
    first, _ = harness.request(1), harness.request(3)
    assert only(harness.say(headers(5, *REQUEST)), RST_STREAM).code is Code.REFUSED_STREAM
    assert 5 not in harness.handlers
    first.answer()
    harness.request(7).answer(b"fine")
    assert only(harness.out(), DATA).payload == b"fine"


def test_settings_say_the_limits() -> None:
    harness = Harness(begin=False, max_streams=7, max_header_list=999)
    settings = dict(frames.read_settings(harness.out()[0].payload))
    assert (settings[3], settings[6]) == (7, 999)


def open_and_reset() -> Iterator[bytes]:
    for stream in count(1, 2):
        yield headers(stream, *REQUEST) + frame(RST_STREAM, 0, stream, number(Code.CANCEL))


def refused_streams() -> Iterator[bytes]:
    for stream in count(1, 2):
        yield headers(stream, *REQUEST)


def malformed_streams() -> Iterator[bytes]:
    for stream in count(1, 2):
        yield headers(stream, ("A", "b"))


def closed_streams() -> Iterator[bytes]:
    yield headers(1, *REQUEST) + frame(RST_STREAM, 0, 1, number(Code.CANCEL))
    while True:
        yield data(1, b"x")


def dribbling() -> Iterator[bytes]:
    """Open the window of a large answer by one byte at a time (CVE-2019-9511)."""
    yield setting(4, 0) + headers(1, *REQUEST)
    while True:
        yield frame(WINDOW_UPDATE, 0, 1, number(1))


def same(said: bytes, before: bytes = b"") -> Iterator[bytes]:
    yield before
    while True:
        yield said


FLOODS = {
    "rapid reset (CVE-2023-44487)": open_and_reset,
    "streams beyond the limit": refused_streams,
    "malformed requests": malformed_streams,
    "DATA on closed streams": closed_streams,
    "windows that open by a byte (CVE-2019-9511)": dribbling,
    "PING (CVE-2019-9512)": lambda: same(frame(PING, 0, 0, bytes(8))),
    "answers to PING": lambda: same(frame(PING, ACK, 0, bytes(8))),
    "SETTINGS (CVE-2019-9515)": lambda: same(setting(4, 70_000)),
    "PRIORITY (CVE-2019-9513)": lambda: same(frame(PRIORITY, 0, 9, bytes(5))),
    "WINDOW_UPDATE": lambda: same(frame(WINDOW_UPDATE, 0, 0, number(1))),
    "empty DATA (CVE-2019-9518)": lambda: same(data(1, b""), headers(1, *REQUEST, end=False)),
    "RST_STREAM on a closed stream": lambda: same(frame(RST_STREAM, 0, 1, number(8)), headers(1, *REQUEST)),
    "unknown frames": lambda: same(frame(0x77, 0, 0, b"")),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_ends_the_connection_and_a_trickle_does_not(flood: object) -> None:
    harness = Harness(max_streams=10, resets=70, resets_rate=1.0, control=70, control_rate=1.0)
    harness.make = Large
    said = flood()  # type: ignore[operator]
    for _ in range(30):
        harness.say(next(said))
    assert harness.goaway is None
    for _ in range(80):
        harness.now += 2.0
        harness.say(next(said))
    assert harness.goaway is None
    for _ in range(200):
        harness.say(next(said))
    assert harness.goaway is Code.ENHANCE_YOUR_CALM
    assert harness.connection.over


class Large(Recorder):
    def ended(self, trailers: object) -> None:
        self.stream.send_headers(ANSWER)
        self.stream.send((bytes(10_000),))


def test_requests_that_are_answered_give_the_budgets_back() -> None:
    harness = Harness(resets=20, resets_rate=0.0, control=20, control_rate=0.0)
    for stream in range(1, 2001, 4):
        harness.request(stream).answer(b"x")
        harness.say(frame(WINDOW_UPDATE, 0, 0, number(1)), frame(PING, 0, 0, bytes(8)))
        harness.request(stream + 2)
        harness.say(frame(RST_STREAM, 0, stream + 2, number(Code.CANCEL)))
    assert harness.goaway is None


def test_each_answered_request_lets_a_client_send_some_frames_of_control() -> None:
    harness = Harness(control=20, control_rate=0.0)
    for stream in range(1, 201, 2):
        harness.request(stream).answer()  # without DATA, which would do as well
        harness.say(frame(PING, 0, 0, bytes(8)) * 3)
    assert harness.goaway is None
    harness.say(frame(PING, 0, 0, bytes(8)) * 21)
    assert harness.goaway is Code.ENHANCE_YOUR_CALM


def test_a_client_that_takes_a_large_answer_frame_by_frame_is_welcome() -> None:
    harness = Harness(control=20, control_rate=0.0)
    handler = harness.request(1)
    handler.stream.send_headers(ANSWER)
    handler.stream.send((bytes(20_000_000),), end=True)
    taken = 0
    while 1 in harness.connection.streams.open:
        size = sum(len(each.payload) for each in harness.out() if each.kind == DATA)
        size = size or 16_384
        taken += size
        sent = harness.say(frame(WINDOW_UPDATE, 0, 1, number(size)), frame(WINDOW_UPDATE, 0, 0, number(size)))
        assert harness.goaway is None
        assert sent is not None


def test_answers_to_frames_that_a_client_does_not_take_are_few() -> None:
    harness = Harness(control=10**6)
    harness.connection.outbox.blocked = True
    for _ in range(1000):
        harness.say(frame(PING, 0, 0, bytes(8)))
    assert harness.goaway is None
    harness.say(frame(PING, 0, 0, bytes(8)))
    assert harness.goaway is Code.ENHANCE_YOUR_CALM


BLOCKS = {
    "CONTINUATION without end (CVE-2024-27316)": [headers(1, *REQUEST, flags=0), *[frame(CONTINUATION, 0, 1, b"")] * 17],
    "a block of 64 KiB and more": [headers(1, *REQUEST, flags=0), *[frame(CONTINUATION, 0, 1, bytes(16_384))] * 4],
    "a frame of 64 KiB and more": [frame(HEADERS, END_HEADERS, 1, bytes(65_537))],
    "its head alone": [frame(HEADERS, END_HEADERS, 1, bytes(65_537))[:9]],
    "a bomb": [frame(HEADERS, END_HEADERS, 1, b"\x40\x01a\x7f\x81\x1e" + b"b" * 3968 + b"\xbe" * 60)],
}  # fmt: skip


@pytest.mark.parametrize("said", BLOCKS.values(), ids=BLOCKS)
def test_a_header_block_is_bounded(said: list[bytes]) -> None:
    harness = Harness()
    harness.say(*said)
    assert harness.goaway is Code.ENHANCE_YOUR_CALM
    assert harness.handlers == {}


def test_a_block_of_just_so_many_pieces_is_read() -> None:
    harness = Harness(max_continuations=3)
    pieces = [frame(CONTINUATION, 0, 1, b"")] * 2
    harness.say(headers(1, *REQUEST, flags=0), *pieces, frame(CONTINUATION, END_HEADERS, 1, b""))
    assert list(harness.handlers) == [1]


SLOW = {
    "nothing": [],
    "half a preface": [frames.PREFACE[:10]],
    "no SETTINGS": [frames.PREFACE],
    "half a frame": [frames.PREFACE, frame(SETTINGS, 0, 0), b"\0\0\x08\6"],
    "half a block": [frames.PREFACE, frame(SETTINGS, 0, 0), headers(1, *REQUEST, flags=0)],
}


@pytest.mark.parametrize("said", SLOW.values(), ids=SLOW)
def test_what_is_not_whole_in_time_ends_the_connection(said: list[bytes]) -> None:
    harness = Harness(Limits(head=10.0), begin=False)
    for piece in said:
        harness.say(piece)
    harness.look(9.0)
    assert harness.goaway is None
    harness.look(2.0)
    assert harness.goaway is Code.PROTOCOL_ERROR


def test_a_frame_of_a_body_may_take_its_time_as_long_as_it_goes_on() -> None:
    harness = Harness(Limits(head=10.0, body_idle=5.0))
    harness.request(1, end=False)
    whole = data(1, bytes(100))
    harness.say(whole[:9])
    for at in range(9, 50):
        harness.say(whole[at : at + 1])
        harness.look(4.0)
    assert harness.goaway is None
    harness.look(2.0)
    assert harness.goaway is Code.PROTOCOL_ERROR


def test_a_client_that_always_sends_half_a_frame_more_is_not_slow() -> None:
    harness = Harness(Limits(head=10.0))
    harness.request(1, end=False)
    whole = data(1, bytes(100))
    harness.say(whole[:5])
    for _ in range(50):
        harness.say(whole[5:] + whole[:5])
        harness.look(2.0)
    assert harness.goaway is None


def test_a_stream_whose_client_takes_nothing_is_reset_and_the_others_go_on() -> None:
    harness = Harness(Limits(write_stall=10.0))
    harness.say(setting(4, 100))
    handlers = [harness.request(stream) for stream in (1, 3)]
    for handler in handlers:
        handler.stream.send_headers(ANSWER)
        handler.stream.send((bytes(1000),))
    harness.out()
    harness.look(0.0)
    for _ in range(8):
        harness.say(frame(WINDOW_UPDATE, 0, 3, number(10)))
        harness.look(3.0)
    resets = [(each.stream, each.code) for each in harness.sent if each.kind == RST_STREAM]
    assert resets == [(1, Code.CANCEL)]
    assert [handler.calls[-1] for handler in handlers] == ["aborted", "ended"]


def test_few_frames_are_read_in_one_turn() -> None:
    harness = Harness(frames_a_turn=10)
    said = b"".join(headers(stream, *REQUEST) for stream in range(1, 51, 2))
    harness.connection.receive(said, 0.0)
    assert (len(harness.handlers), harness.connection.more) == (10, True)
    harness.connection.receive(b"", 0.0)
    harness.connection.receive(b"", 0.0)
    assert (len(harness.handlers), harness.connection.more) == (25, False)


def test_heads_are_remembered_up_to_a_bound() -> None:
    harness = Harness()
    for stream in range(1, 801, 2):
        harness.request(stream, ("a", str(stream))).answer()
    known = harness.connection.streams._decoder._heads
    assert 0 < len(known) <= 64
    harness.request(801, ("a", "b" * 4000))
    assert all(len(block) < 2049 for block in known)


def test_streams_that_were_reset_are_remembered_up_to_a_bound() -> None:
    harness = Harness()
    for stream in range(1, 2001, 2):
        harness.request(stream, end=False).stream.reset(Code.CANCEL)
        harness.out()
    assert only(harness.say(data(1, b"x")), RST_STREAM).code is Code.STREAM_CLOSED
    assert harness.say(data(1999, b"x")) == []


def test_goaway_names_the_cause() -> None:
    harness = Harness(control=1)
    found = harness.say(*[frame(PING, 0, 0, bytes(8))] * 3)
    assert b"carry nothing of a request" in only(found, GOAWAY).payload
