"""Responses of server-sent events, however their bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.cli.tokenload.event_reader import BadStream, EventReader

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
EVENTS = [b'{"a": "\xc3\xa9"}', b"", b"x" * 300, b"[DONE]"]
TEXT = b"".join(b"data: %b\n\n" % event for event in EVENTS)


def chunked(data: bytes, sizes: list[int]) -> bytes:
    places = sorted({min(size, len(data)) for size in sizes} | {0, len(data)})
    parts = [data[a:b] for a, b in pairwise(places)]
    return b"".join(b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@given(st.sampled_from(["chunked", "length", "end"]), st.lists(st.integers(0, 400)), st.lists(st.integers(0, 900)))
def test_events_come_whole(way: str, sizes: list[int], cuts: list[int]) -> None:
    if way == "chunked":
        wire = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(TEXT, sizes)
    else:
        wire = HEAD + (b"Content-Length: %d\r\n" % len(TEXT) if way == "length" else b"") + b"\r\n" + TEXT
    reader = EventReader()
    places = sorted({min(cut, len(wire)) for cut in cuts} | {0, len(wire)})
    found = [event for a, b in pairwise(places) for event in reader.feed(wire[a:b])]
    assert found == EVENTS
    assert reader.status == 200
    assert reader.complete is (way != "end")
    assert reader.close()


def test_another_body_is_kept_whole() -> None:
    reader = EventReader()
    assert reader.feed(b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 4\r\n\r\nno") == []
    assert reader.feed(b"pe") == []
    assert (reader.status, reader.body, reader.complete, reader.keep) == (404, b"nope", True, False)


def test_comments_and_other_fields_are_no_events() -> None:
    reader = EventReader()
    assert reader.feed(HEAD + b"\r\n: ping\n\nevent: x\n\ndata: 1\r\n\r\n") == [b"1"]


def test_an_answer_that_was_cut_off_is_not_complete() -> None:
    reader = EventReader()
    reader.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\ndata")
    assert not reader.close()


@pytest.mark.parametrize(
    "wire", [b"SSH-2.0\r\n\r\n", b"x" * 70_000, HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"]
)  # fmt: skip
def test_what_is_no_response_is_told(wire: bytes) -> None:
    with pytest.raises(BadStream):
        EventReader().feed(wire)


def test_an_event_without_an_end_has_a_bound() -> None:
    reader = EventReader()
    with pytest.raises(BadStream, match="without an end"):
        reader.feed(HEAD + b"\r\ndata: " + b"x" * (1 << 24))
