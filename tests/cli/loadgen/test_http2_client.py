"""The client's side of HTTP/2, with the library h2 as the server: requests that h2 understands, answers of every shape."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.cli.loadgen.http2_client import BadAnswer, Http2Client
from torchserve.http.transport.http2 import frames
from torchserve.http.transport.http2.header_block import encode_block

ASKED = [(":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "here"), ("te", "trailers")]
BLOCK = encode_block(ASKED)
HEAD = [(":status", "200"), ("content-type", "application/grpc")]
TRAILERS = [("grpc-status", "0")]


class Answer:
    """What a sink was told."""

    def __init__(self) -> None:
        self.fields: list[Mapping[str, str]] = []
        self.body = b""
        self.ends = 0
        self.why = ""

    def headers_came(self, fields: Mapping[str, str], *, ended: bool) -> None:
        self.fields.append(fields)
        self.ends += ended

    def data_came(self, data: bytes, *, ended: bool) -> None:
        self.body += data
        self.ends += ended

    def lost(self, why: str) -> None:
        assert why
        self.why = why


class Pair:
    """A client and h2's server, and the bytes between them. `bodies` are those that came, by stream."""

    def __init__(self, settings: dict[Any, int] | None = None, *, give_back: bool = True) -> None:
        self.client = Http2Client()
        self.server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.give_back = give_back
        self.bodies: dict[int, bytes] = {}
        self.whole: list[int] = []
        self.heads: dict[int, list[tuple[str, str]]] = {}
        self.server.initiate_connection()
        if settings:
            self.server.update_settings(settings)

    def run(self, feed: Callable[[bytes], None] | None = None) -> None:
        """Carry bytes back and forth until there are none."""
        while True:
            to_server = b"".join(self.client.take())
            for event in self.server.receive_data(to_server) if to_server else ():
                self.came(event)
            to_client = self.server.data_to_send()
            if not to_server and not to_client:
                return
            if to_client:
                (feed or self.client.receive)(to_client)

    def came(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.heads[event.stream_id] = [(str(name), str(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
            if self.give_back:
                self.server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.whole.append(event.stream_id)

    def ask(self, body: bytes) -> Answer:
        answer = Answer()
        self.client.send(BLOCK, body, answer)
        return answer

    def reply(self, stream: int, *pieces: bytes) -> None:
        self.server.send_headers(stream, HEAD)
        for piece in pieces:
            self.server.send_data(stream, piece)
        self.server.send_headers(stream, TRAILERS, end_stream=True)


def test_requests_and_answers_of_one_connection() -> None:
    pair = Pair()
    answers = [pair.ask(b"body %d" % number) for number in range(3)]
    pair.run()
    assert pair.heads == dict.fromkeys((1, 3, 5), ASKED)
    assert pair.bodies == {1: b"body 0", 3: b"body 1", 5: b"body 2"}
    for stream in (5, 1, 3):  # in any order
        pair.reply(stream, b"of ", b"%d" % stream)
    pair.run()
    assert [(each.body, each.ends, each.why) for each in answers] == [(b"of %d" % n, 1, "") for n in (1, 3, 5)]
    assert all(each.fields == [dict(HEAD), dict(TRAILERS)] for each in answers)
    assert pair.client.idle


@given(st.lists(st.integers(1, 400), max_size=60))
def test_an_answer_may_be_cut_anywhere(cuts: list[int]) -> None:
    pair = Pair()
    answer = pair.ask(b"x")

    def cut(data: bytes) -> None:
        at = 0
        for size in (*cuts, len(data)):
            pair.client.receive(data[at : at + size])
            at += size

    pair.run(cut)
    pair.reply(1, bytes(range(256)), b"end")
    pair.run(cut)
    assert (answer.body, answer.ends) == (bytes(range(256)) + b"end", 1)


@pytest.mark.parametrize("window", [1, 5_000, 65_535, 200_000])
def test_a_large_body_keeps_to_the_servers_windows(window: int) -> None:
    size = 300_000 if window > 1 else 50
    pair = Pair({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}, give_back=False)
    body = bytes(number % 251 for number in range(size))
    pair.run()  # the settings are there before the request
    pair.ask(body)
    pair.run()  # h2 raises where a window is overrun
    assert len(pair.bodies.get(1, b"")) == min(window, 65_535, size)
    while pair.whole != [1]:
        before = len(pair.bodies[1])
        pair.server.increment_flow_control_window(40_000)
        pair.server.increment_flow_control_window(40_000, 1)
        pair.run()
        assert len(pair.bodies[1]) > before
    assert pair.bodies[1] == body


def test_settings_that_come_late_widen_a_body_that_waits() -> None:
    pair = Pair({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
    pair.server.increment_flow_control_window(1 << 20)
    pair.ask(bytes(500_000))
    pair.run()
    assert len(pair.bodies[1]) == 500_000
    assert pair.whole == [1]


def test_no_more_streams_than_the_server_has() -> None:
    pair = Pair({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    pair.run()
    answers = [pair.ask(b"%d" % number) for number in range(4)]
    pair.run()
    assert sorted(pair.bodies) == [1, 3]
    pair.client.cancel(answers[2])  # it waits, and is not sent at all
    pair.reply(1, b"first")
    pair.run()
    assert pair.bodies == {1: b"0", 3: b"1", 5: b"3"}
    assert answers[0].body == b"first"


def test_a_reset_loses_one_answer_and_goaway_those_behind_the_last() -> None:
    pair = Pair()
    answers = [pair.ask(b"") for _ in range(3)]
    pair.run()
    pair.server.reset_stream(1, 7)
    pair.run()
    assert "REFUSED_STREAM" in answers[0].why
    assert not pair.client.leaving
    last = frames.goaway(3, frames.ErrorCode.ENHANCE_YOUR_CALM, "too much")
    pair.client.receive(last)
    assert "ENHANCE_YOUR_CALM, too much" in answers[2].why == pair.client.leaving
    pair.reply(3, b"still")
    pair.run()
    assert (answers[1].body, answers[1].why) == (b"still", "")
    pair.client.lost("gone")
    assert pair.client.idle


def test_a_cancelled_request_is_told_nothing_more() -> None:
    pair = Pair()
    answer, other = pair.ask(b""), pair.ask(b"")
    pair.run()
    pair.reply(1, b"late")
    late = pair.server.data_to_send()
    pair.client.cancel(answer)
    pair.client.receive(late)
    pair.client.lost("gone")
    assert (answer.body, answer.ends, answer.why) == (b"", 0, "")
    assert other.why == "gone"


def test_pings_are_answered_and_large_header_blocks_are_put_together() -> None:
    pair = Pair()
    answer = pair.ask(b"")
    pair.run()
    pair.server.ping(b"12345678")
    pair.server.send_headers(1, [*HEAD, ("x-large", "y" * 40_000)], end_stream=True)
    to_client = pair.server.data_to_send()
    pair.client.receive(to_client)
    events = pair.server.receive_data(b"".join(pair.client.take()))
    assert any(isinstance(each, h2.events.PingAckReceived) for each in events)
    assert answer.fields[0]["x-large"] == "y" * 40_000


def test_padding_and_priority_are_cut_off() -> None:
    pair = Pair()
    answer = pair.ask(b"")
    pair.run()
    block = encode_block(HEAD)
    flags = frames.PADDED | frames.PRIORITIZED | frames.END_HEADERS
    pair.client.receive(frames.frame(frames.HEADERS, flags, 1, b"\x03" + bytes(5) + block + bytes(3)))
    pair.client.receive(frames.frame(frames.DATA, frames.PADDED, 1, b"\x02body" + bytes(2)))
    assert (answer.fields, answer.body) == ([dict(HEAD)], b"body")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no frame of HTTP/2"),
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), "can't be decoded"),
        (frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b""), "CONTINUATION without HEADERS"),
        (frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.PING, 0, 0, bytes(8)), "is interrupted"),
        (frames.frame(frames.DATA, frames.PADDED, 1, b"\x09abc"), "the padding is longer"),
        (frames.frame(frames.HEADERS, 0, 1, bytes(70_000)), "more than 65536 bytes"),
        (frames.frame(frames.SETTINGS, 0, 0, bytes(5)), "odd length"),
        (frames.settings({frames.MAX_FRAME_SIZE: 0}), "MAX_FRAME_SIZE is 0"),
    ],
)
def test_what_is_no_answer_ends_the_connection(data: bytes, why: str) -> None:
    pair = Pair()
    pair.ask(b"")
    pair.run()
    with pytest.raises(BadAnswer, match=why):
        pair.client.receive(data)


@given(st.binary(max_size=200))
def test_whatever_comes_is_an_answer_or_no_answer(data: bytes) -> None:
    client = Http2Client()
    client.send(BLOCK, b"", Answer())
    with contextlib.suppress(BadAnswer):
        client.receive(data)
