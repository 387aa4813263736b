"""The same bytes to both readers of HTTP/1: fast_http.py, which takes what is plain, and aiohttp, which takes the rest.

A connection that has asked for anything but a prediction is aiohttp's for good: that is how a case is sent to it.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from ..doubles import SOON, answer, connect, running_front

HOST, LENGTH, CHUNKED = b"Host: x", b"Content-Length: 2", b"Transfer-Encoding: chunked"
LINE = b"POST /predictions/m HTTP/1.1"
CHUNKS = b"2\r\nok\r\n0\r\n\r\n"
LAST = b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def request(*fields: bytes, line: bytes = LINE, body: bytes = b"ok") -> bytes:
    return b"\r\n".join([line, *fields, b"", b""]) + body


def with_(*fields: bytes) -> bytes:
    return request(HOST, *fields, LENGTH)


def framed(*fields: bytes, line: bytes = LINE, body: bytes = CHUNKS) -> bytes:
    return request(HOST, *fields, line=line, body=body)


GOOD = with_()
PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
BAD = b"nonsense\r\n\r\n"
GONE, OPEN = True, False

# name -> (bytes, the statuses of the answers, whether the connection ends behind them)
CASES: dict[str, tuple[bytes, list[int], bool]] = {
    # well-formed
    "one": (GOOD, [200], OPEN),
    "three in a packet": (GOOD * 3, [200, 200, 200], OPEN),
    "a prediction, a ping, a prediction": (GOOD + PING + GOOD, [200, 200, 200], OPEN),
    "forty in a packet": (GOOD * 40, [200] * 40, OPEN),
    "a field twice": (with_(b"X: a", b"X: b"), [200], OPEN),
    "tabs around a value": (with_(b"X:\t a \t"), [200], OPEN),
    "a value in Latin-1": (with_(b"X: \xe9"), [200], OPEN),
    "an empty Host": (request(b"Host:", LENGTH), [200], OPEN),
    "an absolute target": (request(HOST, LENGTH, line=b"POST http://x/predictions/m HTTP/1.1"), [200], OPEN),
    "empty lines ahead": (b"\r\n\r\n" + GOOD, [200], OPEN),
    "127 fields": (with_(*(b"X%d: y" % i for i in range(125))), [200], OPEN),
    "a length with zeros": (request(HOST, b"Content-Length: 002"), [200], OPEN),
    "no length, no body": (request(HOST, body=b""), [200], OPEN),
    "chunks": (framed(CHUNKED), [200], OPEN),
    "chunks, and a prediction": (framed(CHUNKED) + GOOD, [200, 200], OPEN),
    "Chunks in capitals": (framed(b"Transfer-Encoding: CHUNKED"), [200], OPEN),
    "chunks with an extension": (framed(CHUNKED, body=b"2;a=b\r\nok\r\n0\r\n\r\n"), [200], OPEN),
    "chunks with a trailer": (framed(CHUNKED, b"Trailer: X", body=b"2\r\nok\r\n0\r\nX: y\r\n\r\n"), [200], OPEN),
    "a body of empty lines": (request(HOST, b"Content-Length: 40", body=b"\r\n" * 20) + GOOD, [200, 200], OPEN),
    "chunks of empty lines": (framed(CHUNKED, body=b"28\r\n" + b"\r\n" * 20 + b"\r\n0\r\n\r\n") + GOOD, [200, 200], OPEN),
    "HTTP/1.0": (request(LENGTH, line=b"POST /predictions/m HTTP/1.0"), [200], GONE),
    "HTTP/1.0, kept": (request(b"Connection: keep-alive", LENGTH, line=b"POST /predictions/m HTTP/1.0"), [200], OPEN),
    "closed behind the first": (with_(b"Connection: close") + GOOD, [200], GONE),
    "closed, in a list": (with_(b"Connection: x, close") + GOOD, [200], GONE),
    "an upgrade that isn't taken": (with_(b"Connection: upgrade", b"Upgrade: h2c") + GOOD, [200, 200], OPEN),
    "an upgrade to websockets": (with_(b"Connection: Upgrade", b"Upgrade: websocket") + GOOD, [200, 200], OPEN),
    # once, or not at all
    "two content types": (with_(b"Content-Type: text/plain", b"Content-Type: application/json"), [400], GONE),
    "a content type twice": (with_(b"content-type: text/plain", b"Content-Type: text/plain"), [400], GONE),
    "two user agents": (with_(b"User-Agent: a", b"User-Agent: b"), [400], GONE),
    "two hosts": (with_(HOST), [400], GONE),
    "no host": (request(LENGTH), [400], GONE),
    # where a body ends
    "gzip, chunked": (framed(b"Transfer-Encoding: gzip, chunked"), [400], GONE),
    "gzip and chunked": (framed(b"Transfer-Encoding: gzip", CHUNKED), [400], GONE),
    "gzip": (framed(b"Transfer-Encoding: gzip"), [400], GONE),
    "chunked, gzip": (framed(b"Transfer-Encoding: chunked, gzip"), [400], GONE),
    "chunked, chunked": (framed(b"Transfer-Encoding: chunked, chunked"), [400], GONE),
    "chunked twice": (framed(CHUNKED, CHUNKED), [400], GONE),
    "xchunked": (framed(b"Transfer-Encoding: xchunked"), [400], GONE),
    "identity": (with_(b"Transfer-Encoding: identity"), [400], GONE),
    "chunks and a length": (framed(CHUNKED, LENGTH), [400], GONE),
    "chunks in HTTP/1.0": (
        framed(CHUNKED, b"Connection: keep-alive", line=b"POST /predictions/m HTTP/1.0") + GOOD, [200], GONE,
    ),
    "a length twice": (with_(LENGTH), [400], GONE),
    "two lengths": (with_(b"Content-Length: 3"), [400], GONE),
    **{
        f"a length of {text}": (request(HOST, b"Content-Length: " + text.encode()), [400], GONE)
        for text in ("2, 2", "+2", "-2", "0x2", "", "2_0", "\u0662")
    },
    "chunks whose size is none": (framed(CHUNKED, body=b"zz\r\nok\r\n0\r\n\r\n"), [400], GONE),
    "chunks without CR": (framed(CHUNKED, body=b"2\nok\n0\n\n"), [400], GONE),
    # versions
    "HTTP/0.9": (b"GET /ping\r\n\r\n" + GOOD, [400], GONE),
    "HTTP/0.9, said": (request(HOST, LENGTH, line=b"POST /predictions/m HTTP/0.9"), [400], GONE),
    "HTTP/2.0": (request(HOST, LENGTH, line=b"POST /predictions/m HTTP/2.0") + GOOD, [400], GONE),
    "HTTP/2.0 elsewhere": (b"GET /ping HTTP/2.0\r\nHost: x\r\n\r\n" + GOOD, [400], GONE),
    "HTTP/2's preface, behind a request": (GOOD + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [200, 400], GONE),
    **{
        version: (request(HOST, LENGTH, line=b"POST /predictions/m " + version.encode()), [400], GONE)
        for version in ("HTTP/1.2", "HTTP/1.10", "HTTP/3.0", "http/1.1", "HTTP/1,1", "HTTP/1.1 ", "HTTP/", "HTP/1.1")
    },
    # grammar
    "folded": (with_(b"X: a\r\n b"), [400], GONE),
    "a space before the colon": (with_(b"X : a"), [400], GONE),
    "a space before the name": (request(b" Host: x", LENGTH), [400], GONE),
    "no colon": (with_(b"X"), [400], GONE),
    "no name": (with_(b": a"), [400], GONE),
    "a name in Latin-1": (with_(b"X\xe9: a"), [400], GONE),
    "NUL": (with_(b"X: a\0b"), [400], GONE),
    "a control character": (with_(b"X: a\x01b"), [400], GONE),
    "DEL": (with_(b"X: a\x7fb"), [400], GONE),
    "CR": (with_(b"X: a\rb"), [400], GONE),
    "LF alone, behind a request": (GOOD + GOOD.replace(b"\r\n", b"\n"), [200, 400], GONE),
    "a target in Latin-1": (request(HOST, LENGTH, line=b"POST /predictions/m\xe9 HTTP/1.1"), [400], GONE),
    "a space in the target": (request(HOST, LENGTH, line=b"POST /predictions/m n HTTP/1.1"), [400], GONE),
    "a method in lower case": (request(HOST, LENGTH, line=b"post /predictions/m HTTP/1.1"), [400], GONE),
    "no method at all": (request(HOST, LENGTH, line=b"P@ST /predictions/m HTTP/1.1"), [400], GONE),
    "129 fields": (with_(*(b"X%d: y" % i for i in range(127))), [400], GONE),
    # what is well-formed is answered, whatever comes behind it
    "one, and nonsense": (GOOD + BAD, [200, 400], GONE),
    "two, and nonsense": (GOOD * 2 + BAD, [200, 200, 400], GONE),
    "forty, and nonsense": (GOOD * 40 + BAD, [200] * 40 + [400], GONE),
    "pings, and nonsense": (PING * 3 + BAD + PING, [200, 200, 200, 400], GONE),
    "a ping, a prediction, and nonsense": (PING + GOOD + BAD, [200, 200, 400], GONE),
    "chunks, and nonsense": (framed(CHUNKED) + BAD, [200, 400], GONE),
    "one, and a bad field": (GOOD + with_(b"X y: 1"), [200, 400], GONE),
    "one, and two hosts": (GOOD + with_(HOST), [200, 400], GONE),
    "one, and chunks with a length": (GOOD + framed(CHUNKED, LENGTH), [200, 400], GONE),
    "one, and gzip in chunks": (GOOD + framed(b"Transfer-Encoding: gzip, chunked"), [200, 400], GONE),
    "one, and HTTP/2.0": (GOOD + request(HOST, LENGTH, line=b"GET / HTTP/2.0"), [200, 400], GONE),
    "a body longer than its length": (GOOD + b"more\r\n\r\n", [200, 400], GONE),
    "nonsense, and one": (BAD + GOOD, [400], GONE),
}  # fmt: skip


async def read_all(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(SOON):
        return await reader.read()


async def outcome(raw: bytes, *, by_aiohttp: bool, ends: bool, piece: int = 0) -> tuple[list[int], list[Any]]:
    """The statuses of the answers, up to the end of the connection, and what the handler was given."""
    async with running_front() as h, connect(h.port()) as (reader, writer):
        if by_aiohttp:
            writer.write(PING)
            await answer(reader)
        sent = raw if ends else raw + LAST
        for at in range(0, len(sent), piece or len(sent)):
            writer.write(sent[at : at + (piece or len(sent))])
            if piece:
                await asyncio.sleep(0)
        got = await read_all(reader)
        given = [
            (sorted((name.lower(), value) for name, value in payload.headers.items()), bytes(payload.parts[0].body))
            for payload in h.data.payloads
        ]
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", got)], given


@pytest.mark.parametrize("name", CASES)
async def test_both_readers_answer_alike(name: str) -> None:
    raw, statuses, ends = CASES[name]
    expected = statuses if ends else [*statuses, 200]
    fast, given = await outcome(raw, by_aiohttp=False, ends=ends)
    assert fast == expected
    aiohttp, given_by_aiohttp = await outcome(raw, by_aiohttp=True, ends=ends)
    assert aiohttp == expected
    assert given == given_by_aiohttp


WELL_FORMED = [name for name, (_, statuses, _) in CASES.items() if set(statuses) == {200}]


@pytest.mark.parametrize("piece", [1, 7, 64])
async def test_what_is_well_formed_may_come_in_any_pieces(piece: int) -> None:
    for name in WELL_FORMED:
        raw, statuses, ends = CASES[name]
        if name == "closed behind the first" or name == "closed, in a list" or "HTTP/1.0" in name:
            continue  # what is sent behind the end is met by a reset
        for by_aiohttp in (False, True):
            found, _ = await outcome(raw, by_aiohttp=by_aiohttp, ends=ends, piece=piece)
            assert found == [*statuses, 200], (name, by_aiohttp)


BARE = GOOD.replace(b"\r\n", b"\n")
BARE_PING = b"GET /ping HTTP/1.1\nHost: x\n\n"
# A connection's first request: name -> (bytes, the statuses of the answers).
FIRST: dict[str, tuple[bytes, list[int]]] = {
    "a prediction": (BARE, [200]),
    "another route": (BARE_PING, [200]),
    "with a field of its own about the connection": (BARE.replace(b"Host: x", b"Host: x\nConnection: keep-alive"), [200]),
    "empty lines ahead": (b"\n\r\n\n" + BARE, [200]),
    "HTTP/1.0": (b"POST /predictions/m HTTP/1.0\nContent-Length: 2\n\nok", [200]),
    "and a body with CR": (BARE.replace(b"th: 2", b"th: 8") + b"\r\n\r\n\n\n", [200]),
    "the first line alone": (GOOD.replace(b"\r\n", b"\n", 1), [400]),
    "all but the first line": (BARE.replace(b"\n", b"\r\n", 1), [400]),
    "all but the empty line": (BARE.replace(b"\n\n", b"\n\r\n"), [400]),
    "a field that a proxy takes for one": (GOOD.replace(b"Host: x", b"Host: x\r\nX: a\nContent-Length: 0"), [400]),
    "CR in a value": (BARE.replace(b"Host: x", b"Host: x\rX: a"), [400]),
    "chunks": (framed(CHUNKED).replace(b"\r\n", b"\n"), [400]),
    "chunks with CR": (framed(CHUNKED, body=b"").replace(b"\r\n", b"\n") + CHUNKS, [400]),
    "folded": (BARE.replace(b"Host: x", b"Host: x\n y"), [400]),
    "two lengths": (BARE.replace(b"Host: x", b"Host: x\nContent-Length: 3"), [400]),
    "no host": (BARE.replace(b"Host: x\n", b""), [400]),
    "too long": (BARE.replace(b"Host: x", b"Host: x\nX: " + b"y" * 20_000), [400]),
    "no request": (b"nonsense\n\n", [400]),
}  # fmt: skip


@pytest.mark.parametrize("piece", [0, 1, 7])
@pytest.mark.parametrize("name", FIRST)
async def test_a_first_head_may_have_bare_line_feeds_alone(name: str, piece: int) -> None:
    """And the connection ends behind its answer, whatever else has come."""
    raw, statuses = FIRST[name]
    if piece and statuses == [400]:
        return  # what is sent behind the end is met by a reset
    found, given = await outcome(raw, by_aiohttp=False, ends=True, piece=piece)
    assert found == statuses
    bodies = [body for _, body in given]
    assert bodies == ([raw.partition(b"\n\n")[2]] if name == "and a body with CR" else [b"ok"] * len(bodies))
    assert len(bodies) == (statuses == [200] and name != "another route")


async def test_what_comes_behind_such_a_head_is_no_request() -> None:
    for behind in (BARE, GOOD, BARE_PING, PING):
        found, given = await outcome(BARE_PING + behind, by_aiohttp=False, ends=True)
        assert found[0] == 200
        assert (200 not in found[1:], given) == (True, [])
