"""What the fast HTTP path takes for a plain request: only what aiohttp reads in the very same way."""

from __future__ import annotations

import asyncio
import re

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from torchserve.http.routes import ROUTES
from torchserve.http.routing.fast_head import fast_head
from torchserve.http.transport.plain_head import read_plain

HEADS = fast_head(ROUTES)

PLAIN = b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "target", "keep", "length"),
    [
        (PLAIN, "/predictions/m", True, 2),
        (PLAIN.replace(b"POST", b"PUT"), "/predictions/m", True, 2),
        (PLAIN.replace(b"predictions/m", b"explanations/m/1.0/a?b=c%20d"), "/explanations/m/1.0/a?b=c%20d", True, 2),
        (PLAIN.replace(b"Length: 2", b"length:\t002 "), "/predictions/m", True, 2),
        (PLAIN.replace(b"Host: x", b"Host: x\r\nConnection: Close"), "/predictions/m", False, 2),
        (PLAIN.replace(b"Host: x", b"Host: x\r\nConnection: keep-alive"), "/predictions/m", True, 2),
    ],
)
def test_plain(raw: bytes, target: str, keep: bool, length: int) -> None:
    found = read_plain(HEADS, raw + b"ok, and more", ("peer", 1), 100)
    assert found is not None
    head, begin, size = found
    assert (head.method.encode(), head.target, head.keep_alive, head.http11) == (raw.split()[0], target, keep, True)
    assert (begin, size, head.peer) == (len(raw), length, ("peer", 1))


OTHERS = [
    PLAIN.replace(b"POST", b"GET"),
    PLAIN.replace(b"POST", b"DELETE"),
    PLAIN.replace(b"POST", b"post"),
    PLAIN.replace(b"/1.1", b"/1.0"),
    PLAIN.replace(b"/predictions/m", b"/models"),
    PLAIN.replace(b"/predictions/m", b"/predictions/"),
    PLAIN.replace(b"/predictions/m", b"/predictions/m n"),
    PLAIN.replace(b"/predictions/m", b"/predictions/\xe9"),
    PLAIN.replace(b"/predictions/m", b"http://x/predictions/m"),
    PLAIN.replace(b" HTTP", b"  HTTP"),
    PLAIN.replace(b"Content-Length: 2\r\n", b""),
    PLAIN.replace(b"Host: x", b"Content-Length: 2"),
    PLAIN.replace(b"Length: 2", b"Length: 101"),
    PLAIN.replace(b"Length: 2", b"Length: +2"),
    PLAIN.replace(b"Length: 2", b"Length: 2, 2"),
    PLAIN.replace(b"Length: 2", b"Length:"),
    PLAIN.replace(b"Length: 2", b"Length: 1" + b"0" * 20),
    PLAIN.replace(b"Host: x", b"Transfer-Encoding: chunked"),
    PLAIN.replace(b"Host: x", b"transfer-encoding: identity"),
    PLAIN.replace(b"Host: x", b"Expect: 100-continue"),
    PLAIN.replace(b"Host: x", b"Upgrade: h2c"),
    PLAIN.replace(b"Host: x", b"TE: trailers"),
    PLAIN.replace(b"Host: x", b"Trailer: x"),
    PLAIN.replace(b"Host: x", b"Connection: keep-alive, upgrade"),
    PLAIN.replace(b"Host: x", b"X: a\r\n folded"),
    PLAIN.replace(b"Host: x", b"X : a"),
    PLAIN.replace(b"Host: x", b"X: a\x00b"),
    PLAIN.replace(b"Host: x", b"X: a\x7fb"),
    PLAIN.replace(b"Host: x", b": a"),
    PLAIN.replace(b"\r\n", b"\n"),
    b"\r\n" + PLAIN,
    PLAIN[:-1],
    PLAIN[:-2],
    PLAIN[:10],
    b"",
    PLAIN.replace(b"Host: x", b"X: " + b"x" * 8200),
    PLAIN.replace(b"Host: x", b"\r\n".join(b"X%d: y" % i for i in range(70))),
]


@pytest.mark.parametrize("raw", OTHERS)
def test_not_plain(raw: bytes) -> None:
    assert read_plain(HEADS, raw + b"ok", None, 100) is None


TOKEN = st.text("abcXYZ019-_!#", min_size=1, max_size=6).map(str.encode)
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=12).map(
    lambda text: text.encode("latin-1")
)
FIELDS = st.lists(st.tuples(TOKEN.map(lambda name: b"x" + name), VALUE), max_size=4)
TARGET = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20).map(str.encode)


PATH = re.compile(rb"[^/#?]+(/[^/#?]+(/[^#?]+)?)?(\?.*)?")  # a model, a version and more, as a row spells them


@given(
    st.sampled_from([b"POST", b"PUT"]), TARGET, FIELDS, st.sampled_from([b"", b"close", b"Keep-Alive", b"close, x"]),
    st.binary(max_size=30), st.binary(max_size=5),
)  # fmt: skip
def test_what_is_plain_is_what_aiohttp_reads(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], connection: bytes, body: bytes, more: bytes
) -> None:
    lines = [(b"Host", b"x"), *fields, (b"Content-Length", b"%d" % len(body))]
    if connection:
        lines.append((b"Connection", connection))
    head = b"".join(b"%b: %b\r\n" % line for line in lines)
    raw = b"%b /predictions/%b HTTP/1.1\r\n%b\r\n" % (method, target, head)
    found = read_plain(HEADS, raw + body + more, None, 1000)
    if found is None:
        assert connection == b"close, x" or not PATH.fullmatch(target)
        return
    ours, begin, length = found
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, auto_decompress=False)
        ((theirs, content),), *_ = parser.feed_data(raw + body)
        assert (ours.method, ours.target) == (theirs.method, theirs.path)
        assert tuple(ours.raw_headers) == theirs.raw_headers
        assert ours.keep_alive is not theirs.should_close
        assert content.is_eof()
        assert (content.read_nowait() if length else b"") == body == (raw + body + more)[begin : begin + length]
    finally:
        loop.close()


@pytest.mark.parametrize(
    "raw",
    [
        PLAIN.replace(b"Host: x\r\n", b""),
        PLAIN.replace(b"Host: x", b"Host: x\r\nHost: y"),
        PLAIN.replace(b"/predictions/m", b"/predictions/m?" + b"x" * 5000),
        PLAIN.replace(b"Host: x", b"Host: x\r\nConnection: close\r\nConnection: keep-alive"),
    ],
)
def test_what_aiohttp_refuses_or_reads_otherwise_is_not_plain(raw: bytes) -> None:
    assert read_plain(HEADS, raw + b"ok", None, 100) is None
