"""Flow control, both ways (RFC 9113, sections 5.2 and 6.9)."""

from __future__ import annotations

from torchserve.http.message.limits import Limits
from torchserve.http.transport.http2.errors import ErrorCode as Code
from torchserve.http.transport.http2.frames import (
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    RST_STREAM,
    WINDOW_UPDATE,
    frame,
)

from .harness import ANSWER, Frame, Harness, Recorder, data, number, only, setting


def sizes(found: list[Frame], stream: int = 1) -> list[int]:
    return [len(each.payload) for each in found if each.kind == DATA and each.stream == stream]


def widen(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, number(size))


def answering(harness: Harness, size: int, stream: int = 1) -> Recorder:
    """Return a handler that has sent `size` bytes, and not the end."""
    handler = harness.request(stream)
    handler.stream.send_headers(ANSWER)
    handler.stream.send((bytes(size),))
    return handler


def test_a_stream_sends_what_its_window_lets_pass_and_the_rest_as_it_opens() -> None:
    harness = Harness()
    harness.say(setting(4, 1000), widen(0, 10**6))
    handler = answering(harness, 2500)
    handler.stream.send_trailers((("t", "u"),))
    assert sizes(harness.out()) == [1000]
    assert handler.stream.queued == 1500
    assert sizes(harness.say(widen(1, 1))) == [1]
    found = harness.say(widen(1, 10_000))
    assert sizes(found) == [1499]
    assert [(each.kind, each.flags & END_STREAM) for each in found] == [(DATA, 0), (HEADERS, END_STREAM)]
    assert harness.connection.streams.open == {}
    assert (harness.connection.outbox.waiting, harness.connection.outbox.kept) == (0, 0)


def test_a_window_can_be_below_zero() -> None:
    harness = Harness()
    handler = answering(harness, 50_000)
    assert sum(sizes(harness.out())) == 50_000
    harness.say(setting(4, 40_000), widen(0, 10**6))
    handler.stream.send((bytes(10),), end=True)
    assert sizes(harness.say(setting(4, 50_000))) == []
    assert sizes(harness.say(setting(4, 50_004))) == [4]
    found = harness.say(setting(4, 50_010))
    assert (sizes(found), found[-1].flags) == ([6], END_STREAM)


def test_the_connections_window_is_shared_in_turns() -> None:
    harness = Harness()
    harness.say(setting(4, 2**20))
    for handler in [harness.request(1), harness.request(3)]:
        handler.stream.send_headers(ANSWER)
        handler.stream.send((bytes(100_000),))
    first = harness.out()
    assert sum(sizes(first, 1)) + sum(sizes(first, 3)) == 65_535
    turns = [each.stream for each in first if each.kind == DATA]
    assert turns[:4] == [1, 3, 1, 3]
    assert harness.say(widen(1, 1000)) == []
    rest = harness.say(widen(0, 10**6))
    assert sum(sizes(first + rest, 1)) == sum(sizes(first + rest, 3)) == 100_000


def test_a_small_answer_does_not_wait_for_a_large_one() -> None:
    harness = Harness()
    harness.say(setting(4, 1000), widen(0, 10**6))
    answering(harness, 2000, 1)
    harness.request(3).answer(b"small")
    assert sizes(harness.out(), 3) == [5]


def test_frames_are_no_larger_than_the_client_takes() -> None:
    harness = Harness()
    harness.say(setting(4, 2**20), widen(0, 2**20))
    answering(harness, 40_000, 1)
    assert sizes(harness.out(), 1) == [16_384, 16_384, 7232]
    harness.say(setting(5, 2**20))
    answering(harness, 40_000, 3)
    assert sizes(harness.out(), 3) == [40_000]


def test_large_buffers_are_not_copied() -> None:
    harness = Harness()
    harness.say(setting(4, 2**20), widen(0, 2**20), setting(5, 2**20))
    body = bytes(500_000)
    harness.connection.outbox.max_frame = 100_000
    handler = harness.request(1)
    handler.stream.send_headers(ANSWER)
    handler.stream.send((body,))
    while harness.connection.outbox.pump():
        pass
    views = [each for each in harness.connection.outbox.take() if isinstance(each, memoryview)]
    assert sum(map(len, views)) == 500_000
    assert all(view.obj is body for view in views)
    small = bytes(20_000)
    handler.stream.send((small,))
    assert any(each is small for each in harness.connection.outbox.take())


def test_a_blocked_transport_holds_bodies_and_nothing_else() -> None:
    harness = Harness()
    harness.connection.outbox.blocked = True
    handler = answering(harness, 100)
    assert [each.kind for each in harness.out()] == [HEADERS]
    harness.connection.outbox.blocked = False
    assert sizes(harness.out()) == [100]
    assert not handler.stream.queued


def test_a_handler_is_told_when_a_full_stream_has_room() -> None:
    harness = Harness(Limits(max_unsent=1000))
    harness.say(setting(4, 100), widen(0, 10**6))
    handler = answering(harness, 1100)
    harness.out()
    assert not handler.stream.full
    handler.stream.send((bytes(100),))
    assert handler.stream.full
    harness.say(widen(1, 500))
    assert (handler.stream.queued, handler.writables) == (600, 0)
    harness.say(widen(1, 100))
    assert (handler.stream.queued, handler.writables) == (500, 1)
    harness.say(widen(1, 10_000))
    assert handler.writables == 1


def test_a_stream_that_is_reset_frees_what_waits_and_its_share_of_the_line() -> None:
    harness = Harness()
    harness.say(setting(4, 100), widen(0, 10**6))
    for stream in (1, 3):
        answering(harness, 1000, stream)
    harness.out()
    assert harness.connection.outbox.waiting == 1800
    harness.say(frame(RST_STREAM, 0, 1, number(Code.CANCEL)))
    assert (harness.connection.outbox.waiting, harness.connection.outbox.kept) == (900, 1000)
    harness.say(widen(3, 10_000))
    assert (harness.connection.outbox.waiting, harness.connection.outbox.kept) == (0, 0)


# ---- what the client sends


def test_a_window_is_given_back_as_the_handler_takes_the_body() -> None:
    harness = Harness(stream_window=1000)
    handler = harness.request(1, end=False)
    handler.take = False
    assert harness.say(data(1, bytes(800))) == []
    handler.stream.consumed(400)
    assert harness.out() == []
    handler.stream.consumed(400)
    assert only(harness.out(), WINDOW_UPDATE) == Frame(WINDOW_UPDATE, 0, 1, number(800))
    assert harness.say(data(1, bytes(1000))) == []


def test_more_than_a_streams_window_ends_the_stream() -> None:
    harness = Harness(stream_window=1000)
    handler = harness.request(1, end=False)
    handler.take = False
    reset = only(harness.say(data(1, bytes(1000)), data(1, b"x")), RST_STREAM)
    assert reset.code is Code.FLOW_CONTROL_ERROR
    assert handler.calls == ["data", "aborted"]


def test_padding_counts_and_is_given_back_at_once() -> None:
    harness = Harness(stream_window=1000)
    handler = harness.request(1, end=False)
    handler.take = False
    found: list[Frame] = []
    for _ in range(20):
        found += harness.say(frame(DATA, PADDED, 1, b"\xc7" + bytes(199)))
    assert sum(int.from_bytes(each.payload, "big") for each in found if each.stream == 1) >= 3000
    assert (handler.body, harness.goaway) == (b"", None)


def test_more_than_the_connections_window_ends_the_connection() -> None:
    harness = Harness(connection_window=70_000, stream_window=10**6, max_frame=10**6)
    harness.request(1, end=False)
    assert only(harness.say(data(1, bytes(70_001))), GOAWAY).code is Code.FLOW_CONTROL_ERROR


def test_the_connections_window_is_given_back_for_streams_that_are_gone() -> None:
    harness = Harness(connection_window=70_000, stream_window=10**6)
    harness.request(1, end=False).stream.reset(Code.CANCEL)
    harness.out()
    found: list[Frame] = []
    for _ in range(20):
        found += harness.say(data(1, bytes(10_000)))
    assert {(each.kind, each.stream) for each in found} == {(WINDOW_UPDATE, 0)}


def test_the_windows_are_said_at_the_beginning() -> None:
    harness = Harness(begin=False, connection_window=100_000, stream_window=5000)
    settings, update = harness.out()
    assert number(4, 2) + number(5000) in settings.payload
    assert update == Frame(WINDOW_UPDATE, 0, 0, number(100_000 - 65_535))
