"""read_plain: the head of the plainest prediction requests, which FastHttpProtocol reads without aiohttp."""

from __future__ import annotations

import re

from ..message.request import Head

_FIELD = re.compile(rb"([^:\r\n]+):([^\r\n]*)\r\n")
_CONNECTION = frozenset((b"close", b"keep-alive"))
# Fields that change where a body ends, or who speaks next, are aiohttp's to read.
_NOT_PLAIN = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"trailer", b"te"))
# Fields that RFC 9110 lets a message have once: of two, aiohttp refuses the request.
_ONCE = frozenset(
    (b"content-type", b"content-location", b"content-range", b"etag", b"max-forwards", b"server", b"user-agent")
)
_LENGTH = re.compile(rb"[0-9]{1,15}")
LONGEST_HEAD = 8192
_LONGEST_LINE = 4096


def read_plain(heads: re.Pattern[bytes], data: bytes, peer: object, max_length: int) -> tuple[Head, int, int] | None:
    """Return the head of a plain prediction, where its body begins in `data`, and the body's length; None for others.

    `heads` is what `fast_head` has made.
    """
    found = heads.match(data, 0, LONGEST_HEAD)
    if found is None or found.start(3) > _LONGEST_LINE:
        return None
    fields = [(name, value.strip(b" \t")) for name, value in _FIELD.findall(found[3])]
    length: int | None = None
    connection: bytes | None = None
    once: set[bytes] = set()
    hosts = 0
    for name, value in fields:
        lower = name.lower()
        if lower == b"host":
            hosts += 1
        elif lower == b"content-length":
            if length is not None or not _LENGTH.fullmatch(value):
                return None
            length = int(value)
        elif lower == b"connection":
            if connection is not None or value.lower() not in _CONNECTION:
                return None
            connection = value.lower()
        elif lower in _NOT_PLAIN or lower in once:
            return None
        elif lower in _ONCE:
            once.add(lower)
    if hosts != 1 or length is None or length > max_length:
        return None
    keep_alive = connection != b"close"
    return Head(found[1].decode(), found[2].decode(), fields, peer, "1.1", keep_alive), found.end(), length
