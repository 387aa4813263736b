"""Messages come out of a body whole, wherever its pieces begin and end, and within their limit."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import BadRequest, TooLarge
from torchserve.http.rpc.framing import MessageReader, frame
from torchserve.http.rpc.status import Code, RpcFailure

BODIES = st.lists(st.tuples(st.booleans(), st.binary(max_size=200)), max_size=6)


SQUEEZED = {"gzip": gzip.compress, "deflate": zlib.compress}


def framed(data: bytes, squeeze: str = "") -> bytes:
    if squeeze:
        data = SQUEEZED[squeeze](data)
        return b"\1" + len(data).to_bytes(4) + data
    return frame(len(data)) + data


@given(BODIES, st.lists(st.integers(1, 50)), st.sampled_from(list(SQUEEZED)))
def test_messages_are_the_same_however_the_body_is_cut(
    messages: list[tuple[bool, bytes]], cuts: list[int], coding: str
) -> None:
    left = b"".join(framed(data, coding if squeeze else "") for squeeze, data in messages)
    reader, found = MessageReader(10_000, coding=coding), []
    for size in [*cuts, len(left) or 1]:
        found += reader.feed(left[:size])
        left = left[size:]
    found += reader.feed(left)
    assert [bytes(each) for each in found] == [data for _, data in messages]
    assert not reader.unfinished
    assert reader.held == 0


def test_a_message_in_one_piece_is_not_copied() -> None:
    body = framed(b"x" * 1000)
    (found,) = MessageReader(1000).feed(body)
    assert isinstance(found, memoryview)
    assert found.obj is body


def test_a_message_in_pieces_is_put_where_it_is_told() -> None:
    place, asked = memoryview(bytearray(4)), list[tuple[bytes, int]]()

    def room(beginning: memoryview, size: int) -> memoryview | None:
        asked.append((bytes(beginning), size))
        return place if len(asked) == 1 else None

    reader = MessageReader(10, room=room)
    assert reader.feed(framed(b"abcd")[:6]) == []
    assert asked == [], "too little of it has come"
    assert reader.feed(b"b") == []
    assert (reader.held, reader.unfinished, bytes(place)) == (2, True, b"ab\0\0")
    assert reader.feed(b"c") == []
    assert reader.feed(b"d")[0] is place
    assert (asked, bytes(place), reader.unfinished) == ([(b"ab", 4)], b"abcd", False)
    assert [bytes(each) for data in (framed(b"wxyz")[:8], b"z") for each in reader.feed(data)] == [b"wxyz"]
    assert asked == [(b"ab", 4), (b"wxy", 4)], "each message is asked for once"


@given(st.binary(max_size=100), st.lists(st.integers(1, 60)), st.booleans())
def test_a_message_in_any_pieces_is_whole_in_its_place(data: bytes, cuts: list[int], has_room: bool) -> None:
    def room(beginning: memoryview, size: int) -> memoryview | None:
        assert data.startswith(bytes(beginning))
        return memoryview(bytearray(size)) if has_room else None

    reader, left, found = MessageReader(100, room=room), framed(data) * 2, list[bytes]()
    for size in [*cuts, 300]:
        found += [bytes(each) for each in reader.feed(left[:size])]
        left = left[size:]
    assert found == [data, data]


def test_a_message_over_the_limit_is_refused_before_it_comes() -> None:
    reader = MessageReader(10)
    assert reader.feed(framed(b"0123456789"))
    with pytest.raises(TooLarge, match=r"11 bytes and at most 10 .*max_request_size"):
        reader.feed(frame(11))


@pytest.mark.parametrize("size", [10, 11, 10_000_000])
def test_a_compressed_message_is_unpacked_to_its_limit_only(size: int) -> None:
    reader = MessageReader(max(10, len(gzip.compress(bytes(size)))) if size > 11 else 40, coding="gzip")
    data = framed(bytes(size), "gzip")
    if size < 40:
        assert [bytes(each) for each in reader.feed(data)] == [bytes(size)]
    else:
        with pytest.raises(TooLarge, match="max_request_size"):
            reader.feed(data)


def test_a_bomb_is_not_unpacked() -> None:
    data = framed(bytes(10_000_000), "gzip")
    reader = MessageReader(20_000, coding="gzip")
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            reader.feed(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [b"no gzip", gzip.compress(b"x", mtime=0)[:-1], gzip.compress(b"x", mtime=0) + b"y", zlib.compress(b"x"), b""],
)
def test_what_says_gzip_and_is_not_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest, match="not gzip"):
        MessageReader(1000, coding="gzip").feed(b"\1" + len(data).to_bytes(4) + data)


@pytest.mark.parametrize(("flag", "allowed"), [(1, ""), (2, "gzip"), (255, "")])
def test_a_flag_that_the_call_does_not_explain_is_refused(flag: int, allowed: str) -> None:
    with pytest.raises(RpcFailure) as failed:
        MessageReader(1000, coding=allowed).feed(bytes((flag, 0, 0, 0, 0)))
    assert failed.value.code == Code.INTERNAL


@pytest.mark.parametrize(
    "data", [b"no deflate", zlib.compress(b"x")[:-1], zlib.compress(b"x") + b"y", gzip.compress(b"x", mtime=0)]
)
def test_what_says_deflate_and_is_not_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest, match="not deflate"):
        MessageReader(1000, coding="deflate").feed(b"\1" + len(data).to_bytes(4) + data)
