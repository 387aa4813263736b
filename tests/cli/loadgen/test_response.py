"""Answers out of bytes: however they are cut, and whatever they are."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.cli.loadgen.response import BadResponse, Response

HEAD = b"HTTP/1.1 200 OK\r\n"


def chunked(parts: list[bytes]) -> bytes:
    whole = b"".join(b"%x;x=y\r\n%s\r\n" % (len(part), part) for part in parts if part)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + whole + b"0\r\nTrailer: t\r\n\r\n"


def sized(parts: list[bytes]) -> bytes:
    body = b"".join(parts)
    return b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"content-length: %d\r\n\r\n" % len(body) + body


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(ends)]


bodies = st.lists(st.binary(max_size=40), max_size=5)


@given(bodies, st.lists(st.integers(0)), st.sampled_from([chunked, sized]))
def test_however_an_answer_is_cut_it_is_the_same(parts: list[bytes], places: list[int], form: object) -> None:
    data = form(parts)  # type: ignore[operator]
    answer = Response()
    for _ in range(2):
        pieces = cut(data, places)
        assert [answer.feed(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        assert (answer.status, answer.body, answer.keep) == (200, b"".join(parts), True)
        assert answer.chunks == (len([part for part in parts if part]) if form is chunked else 0)
        answer.reset()


@given(bodies, st.lists(st.integers(0)))
def test_a_body_without_length_ends_with_the_connection(parts: list[bytes], places: list[int]) -> None:
    answer = Response()
    assert not any(answer.feed(piece) for piece in cut(HEAD + b"\r\n" + b"".join(parts), places))
    assert answer.close()
    assert (answer.body, answer.keep) == (b"".join(parts), False)


@pytest.mark.parametrize(
    ("data", "keep"),
    [
        (HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (HEAD + b"Content-Length: 0\r\n\r\n", True),
    ],
)
def test_whether_a_connection_may_be_kept(data: bytes, keep: bool) -> None:
    answer = Response()
    assert answer.feed(data)
    assert answer.keep is keep


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"SSH-2.0\r\n\r\n", "no status line"),
        (b"HTTP/1.1 abc\r\n\r\n", "no status line"),
        (b"HTTP/2 200\r\n\r\n", "no status line"),
        (HEAD + b"Content-Length: x\r\n\r\n", "no number"),
        (HEAD + b"Content-Length: -1\r\n\r\n", "no number"),
        (HEAD + b"Content-Length: 1\r\n\r\nab", "2 bytes of body where 1"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "no size"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", "no size"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabcd", "longer than its size"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nx", "after the last chunk"),
        (b"x" * 70000, "no end of the headers"),
    ],
)
def test_what_is_no_answer(data: bytes, why: str) -> None:
    with pytest.raises(BadResponse, match=why):
        Response().feed(data)


@given(
    st.lists(st.binary(max_size=30), max_size=6),
    st.sampled_from([b"", HEAD, HEAD + b"Transfer-Encoding: chunked\r\n\r\n"]),
)
def test_rubbish_is_refused_or_waited_for(pieces: list[bytes], start: bytes) -> None:
    answer = Response()
    try:
        for piece in [start, *pieces]:
            if answer.feed(piece):
                return
    except BadResponse:
        return
    assert answer.close() in {True, False}
