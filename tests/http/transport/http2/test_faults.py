"""What RFC 9113 says is wrong, section by section, and what becomes of it. The list of h2spec was the guide."""

from __future__ import annotations

import pytest

from torchserve.http.transport.http2.errors import ErrorCode as Code
from torchserve.http.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from torchserve.http.transport.http2.header_block import encode_block

from .harness import REQUEST, Harness, data, headers, number, only, setting

BLOCK = encode_block(REQUEST)
OPEN = headers(1, *REQUEST, end=False)
HALF_CLOSED = headers(1, *REQUEST, end=True)
CLOSED = HALF_CLOSED + frame(RST_STREAM, 0, 1, number(Code.CANCEL))

CONNECTION_FAULTS = {
    # 4.2, 4.3
    "4.2 DATA over the largest frame": (OPEN, data(1, bytes(1025)), Code.FRAME_SIZE_ERROR),
    "4.2 HEADERS over the largest frame": (b"", frame(HEADERS, 5, 1, bytes(1025)), Code.FRAME_SIZE_ERROR),
    "4.3 a block that is no HPACK": (b"", frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), Code.COMPRESSION_ERROR),
    "4.3 an index that is not there": (b"", frame(HEADERS, END_HEADERS, 1, b"\xfe"), Code.COMPRESSION_ERROR),
    "4.3 a table of 1 GiB": (b"", frame(HEADERS, END_HEADERS, 1, b"\x3f\xe1\xff\xff\xff\x07"), Code.COMPRESSION_ERROR),
    "4.3 PRIORITY within a block": (headers(1, *REQUEST, flags=0), frame(PRIORITY, 0, 1, bytes(5)), Code.PROTOCOL_ERROR),
    "4.3 another stream's CONTINUATION": (headers(1, *REQUEST, flags=0), frame(CONTINUATION, 4, 3, b""), Code.PROTOCOL_ERROR),
    "4.3 HEADERS within a block": (headers(1, *REQUEST, flags=0), headers(3, *REQUEST), Code.PROTOCOL_ERROR),
    "4.3 DATA within a block": (headers(1, *REQUEST, flags=0), data(1, b"x"), Code.PROTOCOL_ERROR),
    "5.5 an unknown frame within a block": (headers(1, *REQUEST, flags=0), frame(0x16, 0, 0, b""), Code.PROTOCOL_ERROR),
    # 5.1: streams that were never opened, or have ended
    "5.1 DATA on an idle stream": (b"", data(1, b"x"), Code.PROTOCOL_ERROR),
    "5.1 RST_STREAM on an idle stream": (b"", frame(RST_STREAM, 0, 1, number(8)), Code.PROTOCOL_ERROR),
    "5.1 WINDOW_UPDATE on an idle stream": (b"", frame(WINDOW_UPDATE, 0, 1, number(1)), Code.PROTOCOL_ERROR),
    "5.1 CONTINUATION on an idle stream": (b"", frame(CONTINUATION, 4, 1, BLOCK), Code.PROTOCOL_ERROR),
    "5.1 HEADERS on a closed stream": (CLOSED, headers(1, *REQUEST), Code.STREAM_CLOSED),
    "5.1 CONTINUATION on a closed stream": (CLOSED, frame(CONTINUATION, 4, 1, BLOCK), Code.PROTOCOL_ERROR),
    "5.1.1 an even stream": (b"", headers(2, *REQUEST), Code.PROTOCOL_ERROR),
    "5.1.1 a stream below the last one": (headers(5, *REQUEST), headers(3, *REQUEST), Code.STREAM_CLOSED),
    # 6.1 to 6.10
    "6.1 DATA on stream 0": (b"", data(0, b"x"), Code.PROTOCOL_ERROR),
    "6.1 padding as long as its frame": (OPEN, frame(DATA, PADDED, 1, b"\x06tests"), Code.PROTOCOL_ERROR),
    "6.1 padded DATA of no bytes": (OPEN, frame(DATA, PADDED, 1, b""), Code.PROTOCOL_ERROR),
    "6.2 HEADERS on stream 0": (b"", headers(0, *REQUEST), Code.PROTOCOL_ERROR),
    "6.2 padding longer than its frame": (b"", frame(HEADERS, PADDED | END_HEADERS, 1, b"\xff" + BLOCK), Code.PROTOCOL_ERROR),
    "6.2 a priority cut short": (b"", frame(HEADERS, PRIORITIZED | END_HEADERS, 1, b"\0\0"), Code.PROTOCOL_ERROR),
    "6.3 PRIORITY on stream 0": (b"", frame(PRIORITY, 0, 0, bytes(5)), Code.PROTOCOL_ERROR),
    "6.3 PRIORITY of 4 bytes": (OPEN, frame(PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
    "6.4 RST_STREAM on stream 0": (b"", frame(RST_STREAM, 0, 0, number(8)), Code.PROTOCOL_ERROR),
    "6.4 RST_STREAM of 3 bytes": (OPEN, frame(RST_STREAM, 0, 1, bytes(3)), Code.FRAME_SIZE_ERROR),
    "6.5 an ACK with a payload": (b"", frame(SETTINGS, ACK, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    "6.5 SETTINGS on stream 1": (OPEN, frame(SETTINGS, 0, 1, b""), Code.PROTOCOL_ERROR),
    "6.5 SETTINGS of 3 bytes": (b"", frame(SETTINGS, 0, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
    "6.5.2 ENABLE_PUSH of 2": (b"", setting(2, 2), Code.PROTOCOL_ERROR),
    "6.5.2 INITIAL_WINDOW_SIZE over 2^31-1": (b"", setting(4, 2**31), Code.FLOW_CONTROL_ERROR),
    "6.5.2 MAX_FRAME_SIZE under 2^14": (b"", setting(5, 2**14 - 1), Code.PROTOCOL_ERROR),
    "6.5.2 MAX_FRAME_SIZE over 2^24-1": (b"", setting(5, 2**24), Code.PROTOCOL_ERROR),
    "6.6 PUSH_PROMISE": (OPEN, frame(PUSH_PROMISE, 4, 1, number(2) + BLOCK), Code.PROTOCOL_ERROR),
    "6.7 PING on stream 1": (OPEN, frame(PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "6.7 PING of 6 bytes": (b"", frame(PING, 0, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    "6.8 GOAWAY on stream 1": (OPEN, frame(GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "6.8 GOAWAY of 7 bytes": (b"", frame(GOAWAY, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    "6.9 WINDOW_UPDATE by 0": (b"", frame(WINDOW_UPDATE, 0, 0, number(0)), Code.PROTOCOL_ERROR),
    "6.9 WINDOW_UPDATE of 3 bytes": (b"", frame(WINDOW_UPDATE, 0, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
    "6.9.1 the connection's window over 2^31-1": (b"", frame(WINDOW_UPDATE, 0, 0, number(2**31 - 1)), Code.FLOW_CONTROL_ERROR),
    "6.9.2 a stream's window over 2^31-1 by SETTINGS": (
        OPEN + frame(WINDOW_UPDATE, 0, 1, number(2**31 - 1 - 65535)), setting(4, 65536), Code.FLOW_CONTROL_ERROR,
    ),
    "6.10 CONTINUATION behind a whole block": (HALF_CLOSED, frame(CONTINUATION, 4, 1, b""), Code.PROTOCOL_ERROR),
    "6.10 CONTINUATION on stream 0": (headers(1, *REQUEST, flags=0), frame(CONTINUATION, 4, 0, b""), Code.PROTOCOL_ERROR),
    # 5.3.1 (RFC 7540)
    "5.3.1 PRIORITY of an idle stream on itself": (b"", frame(PRIORITY, 0, 1, number(1) + b"\0"), Code.PROTOCOL_ERROR),
}  # fmt: skip

STREAM_FAULTS = {
    "5.1 DATA on a half-closed stream": (HALF_CLOSED, data(1, b"x"), Code.STREAM_CLOSED),
    "5.1 HEADERS on a half-closed stream": (HALF_CLOSED, headers(1, ("a", "b")), Code.STREAM_CLOSED),
    "5.1 DATA on a closed stream": (CLOSED, data(1, b"x"), Code.STREAM_CLOSED),
    "6.9 a stream's WINDOW_UPDATE by 0": (OPEN, frame(WINDOW_UPDATE, 0, 1, number(0)), Code.PROTOCOL_ERROR),
    "6.9.1 a stream's window over 2^31-1": (OPEN, frame(WINDOW_UPDATE, 0, 1, number(2**31 - 1)), Code.FLOW_CONTROL_ERROR),
    "5.3.1 PRIORITY on itself": (OPEN, frame(PRIORITY, 0, 1, number(1) + b"\0"), Code.PROTOCOL_ERROR),
    "5.3.1 HEADERS with a priority on themselves": (
        b"", frame(HEADERS, PRIORITIZED | END_HEADERS | END_STREAM, 1, number(1) + b"\0" + BLOCK), Code.PROTOCOL_ERROR,
    ),
    "8.1 HEADERS in the middle of a body": (OPEN, headers(1, ("a", "b"), end=False), Code.PROTOCOL_ERROR),
    "8.1 trailers with a pseudo-header": (OPEN, headers(1, (":path", "/")), Code.PROTOCOL_ERROR),
}  # fmt: skip


@pytest.mark.parametrize(("before", "said", "code"), CONNECTION_FAULTS.values(), ids=CONNECTION_FAULTS)
def test_the_connection_ends_with_a_code_and_a_cause(before: bytes, said: bytes, code: Code) -> None:
    harness = Harness(max_frame=1024)
    harness.say(before)
    assert harness.goaway is None
    ended = only(harness.say(said), GOAWAY)
    assert ended.code is code
    assert ended.payload[8:]
    assert harness.refused[-1] == (400, ended.payload[8:].decode())
    assert harness.connection.done
    assert harness.say(frame(PING, 0, 0, bytes(8))) == []
    assert harness.connection.streams.open == {}


@pytest.mark.parametrize(("before", "said", "code"), STREAM_FAULTS.values(), ids=STREAM_FAULTS)
def test_the_stream_is_reset_and_others_go_on(before: bytes, said: bytes, code: Code) -> None:
    harness = Harness()
    harness.say(before)
    reset = only(harness.say(said), RST_STREAM)
    assert (reset.stream, reset.code) == (1, code)
    assert 1 not in harness.connection.streams.open
    harness.request(3).answer(b"fine")
    assert only(harness.out(), DATA).payload == b"fine"
    assert harness.goaway is None


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", PREFACE[:-1] + b"x", b"\0" * 24])
def test_what_is_no_preface_ends_the_connection(said: bytes) -> None:
    harness = Harness(begin=False)
    harness.say(said)
    assert harness.goaway is Code.PROTOCOL_ERROR


@pytest.mark.parametrize("first", [frame(PING, 0, 0, bytes(8)), OPEN, data(1, b"x"), frame(0x42, 0, 0, b"")])
def test_the_first_frame_must_be_settings(first: bytes) -> None:
    harness = Harness(begin=False)
    harness.say(PREFACE, first)
    assert harness.goaway is Code.PROTOCOL_ERROR


ACCEPTED = {
    "4.1 undefined flags": frame(PING, 0xFE, 0, bytes(8)),
    "4.1 the reserved bit": bytes(3) + b"\6\0" + b"\x80\0\0\0",
    "5.1 PRIORITY on an idle stream": frame(PRIORITY, 0, 9, number(1) + b"\xff"),
    "5.5 an unknown frame": frame(0x42, 0xFF, 1, b"whatever"),
    "6.5 an unknown setting": setting(0xABC, 7),
    "6.5 ENABLE_PUSH of 1": setting(2, 1),
    "6.5.3 an ACK": frame(SETTINGS, ACK, 0, b""),
    "6.7 an answer that nobody waits for": frame(PING, ACK, 0, bytes(8)),
}
ACCEPTED["4.1 the reserved bit"] = frame(PING, 0, 0, bytes(8)).replace(b"\6\0\0\0\0\0", b"\6\0\x80\0\0\0")


@pytest.mark.parametrize("said", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_to_be_ignored_is(said: bytes) -> None:
    harness = Harness()
    harness.say(said)
    harness.request(1).answer(b"fine")
    assert only(harness.out(), DATA).payload == b"fine"
    assert harness.goaway is None


def test_late_frames_on_a_stream_that_was_reset_here_are_ignored_and_change_the_header_table() -> None:
    harness = Harness()
    harness.request(1, end=False).stream.reset(Code.CANCEL)
    indexed = b"\x40\x01a\x01b"  # a literal that goes into the table
    said = data(1, b"late"), frame(HEADERS, END_HEADERS | END_STREAM, 1, indexed), frame(WINDOW_UPDATE, 0, 1, number(1))
    assert [each.kind for each in harness.say(*said)] == [RST_STREAM]
    harness.say(frame(HEADERS, END_HEADERS | END_STREAM, 3, BLOCK + b"\xbe"))
    assert harness.handlers[3].stream.head.headers["a"] == "b"
    assert harness.handlers[1].calls == []


@pytest.mark.parametrize("refused", [headers(3, *REQUEST, end=False), headers(3, ("A", "b"), end=False)])
def test_late_frames_on_a_stream_that_was_refused_are_ignored(refused: bytes) -> None:
    harness = Harness(max_streams=1)
    harness.say(OPEN)
    assert [each.kind for each in harness.say(refused)] == [RST_STREAM]
    assert harness.say(data(3, b"late"), headers(3, ("t", "u"))) == []
    assert harness.goaway is None
