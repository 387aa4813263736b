"""The heads that the fast HTTP path may read, as one expression that is built from the rows that say `fast`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .route import PredictRoute, Route

# A path is spelt in printable ASCII; `#` and `?` end it, `/` ends a segment.
_SEGMENT = rb'[!"$-.0->@-~]+'
_REST = rb'[!"$->@-~]+'
_QUERY = rb"(?:\?[!-~]*)?"
_FIELD = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n"
_PIECE = re.compile(r"\{\w+(\.\.\.)?\}|([^{]+)")


def fast_head(routes: Iterable[Route]) -> re.Pattern[bytes]:
    """Return an expression for heads of these routes that any HTTP parser reads in the same way.

    Its groups are the method, the target and the header lines. No part of it can match in two ways, so that it takes
    linear time on every input.
    """
    paths = [_path(each.path) for each in routes if isinstance(each.answer, PredictRoute) and each.answer.fast]
    target = rb"(?:%b)%b" % (b"|".join(paths), _QUERY)
    return re.compile(rb"(POST|PUT) (%b) HTTP/1\.1\r\n((?:%b){1,64})\r\n" % (target, _FIELD))


def _path(path: str) -> bytes:
    def spelt(piece: re.Match[str]) -> str:
        rest, literal = piece.groups()
        return re.escape(literal) if literal else (_REST if rest else _SEGMENT).decode()

    return _PIECE.sub(spelt, path).encode()
