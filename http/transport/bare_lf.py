"""with_crlf(): lets a connection begin with a head whose lines end in a bare LF, as hand-written clients send it.

RFC 9112 (2.2) lets a server take a bare LF for the end of a line, and TorchServe does. What makes that dangerous is
a proxy in front that does not: it would forward a field whose value holds an LF, and the server would see a field that
the proxy has not checked. Such a head comes with the CRLFs of the proxy, so that only heads without any CR are read
here. They are a connection's only request: no other one comes before them, and the connection ends behind their answer,
so that nothing of what a proxy sends over a connection that it shares among its clients is taken for such a head. They
can't have a body in chunks, whose framing is another place to disagree about.
"""

from __future__ import annotations

import re

_LONGEST = 16 * 1024  # bytes of such a head
_LONGEST_LINE = 4096  # bytes of a first line that are waited for
_BEGUN = re.compile(rb"[A-Z]{1,20}(?: [^\r\n]*)?")
_CHUNKED = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)


def with_crlf(data: bytes) -> bytes | None:
    """Return what a connection begins with, as aiohttp's parser is to see it; None until more of it is here.

    A head whose lines end in LF alone is written anew, with CRLF and `Connection: close`. Anything else is left as it
    came: the parser decides about it.
    """
    start = len(data) - len(data.lstrip(b"\r\n"))
    if start == len(data):
        return b""  # empty lines ahead of a request count for nothing
    line = data.find(b"\n", start)
    if line < 0:
        return None if len(data) < _LONGEST_LINE and _BEGUN.fullmatch(data, start) else data
    if data[line - 1 : line] == b"\r":
        return data
    end = data.find(b"\n\n", start)
    head = data[start:] if end < 0 else data[start : end + 1]
    if b"\r" in head or len(head) > _LONGEST or _CHUNKED.search(head):
        return data
    if end < 0:
        return None
    return head.replace(b"\n", b"\r\n") + b"Connection: close\r\n\r\n" + data[end + 2 :]
