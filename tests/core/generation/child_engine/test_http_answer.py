"""Answers of an engine, from bytes: whole ones in any pieces, bounds, and garbage."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.generation.child_engine.http_answer import MOST_HEAD, AnswerReader, BadAnswer

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n"
UNTIL_END = b"HTTP/1.0 500 Oh no\r\n\r\nhello"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\n" + PLAIN
BEGUN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def read(data: bytes, *cuts: int) -> tuple[int, bytes, bool]:
    """The status, the body, and whether the answer was whole before the connection's end."""
    reader = AnswerReader()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    body = b"".join(b"".join(reader.feed(data[a:b])) for a, b in itertools.pairwise(edges))
    whole = reader.done
    reader.end()
    assert reader.head is not None
    return reader.head.status, body, whole


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (PLAIN, (200, b"hello", True)),
        (CHUNKED, (200, b"hello", True)),
        (UNTIL_END, (500, b"hello", False)),
        (INTERIM, (200, b"hello", True)),
        (PLAIN + b"HTTP/1.1 200 OK\r\n\r\nmore", (200, b"hello", True)),  # what follows is not read
        (CHUNKED + b"more", (200, b"hello", True)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", True)),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", (200, b"", True)),
    ],
)
@given(cuts=st.lists(st.integers(0, 120), max_size=5))
def test_answers_in_pieces(data: bytes, expected: tuple[int, bytes, bool], cuts: list[int]) -> None:
    assert read(data, *cuts) == expected


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\x00\x01", "no HTTP/1"),
        (b"HTTP/2 200\r\n\r\n", "no HTTP/1"),
        (b"HTTP/1.1 20x OK\r\n\r\n", "no HTTP/1"),
        (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", "a header that is none"),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "a header that is none"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * MOST_HEAD, f"more than {MOST_HEAD} bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "content-length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999\r\n\r\n", "content-length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "transfer coding"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "answered 101"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9, "answered 100"),
        (BEGUN + b"xyz\r\n", "the chunk size 'xyz'"),
        (BEGUN + b"-1\r\n", "the chunk size"),
        (BEGUN + b"1\r\nab\r\n", "longer than it said"),
        (BEGUN + b"0" * 2000, "more than 1024 bytes between chunks"),
        (b"", "before it answered"),
        (b"HTTP/1.1 200 OK\r\n", "before it answered"),
        (PLAIN[:-1], "in the middle of an answer"),
        (CHUNKED[:-2], "in the middle of an answer"),
    ],
)
def test_what_is_no_answer_is_told(data: bytes, told: str) -> None:
    with pytest.raises(BadAnswer, match=told):
        read(data)


@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([PLAIN[:40], CHUNKED[:60], BEGUN, b"\r\n", b"\r\n\r\n", b"5\r\n", b"0\r\n"])
    )
)  # fmt: skip
def test_whatever_comes_is_an_answer_or_none(pieces: list[bytes]) -> None:
    reader = AnswerReader()
    try:
        for piece in pieces:
            for part in reader.feed(piece):
                assert part
        reader.end()
    except BadAnswer as error:
        assert "\n" not in str(error)
    else:
        assert reader.done
