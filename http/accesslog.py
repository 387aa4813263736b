"""Entry: one line of the access log. Made on the event loop, turned to text by whoever writes it."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One answered request; whoever writes it adds the time. `at` is seconds since the epoch, `took` seconds."""

    at: float
    peer: object
    method: str
    target: str
    status: int
    took: float
    http11: bool = True
    request_id: str = ""

    def text(self) -> str:
        """`/127.0.0.1:51234 "POST /predictions/x HTTP/1.1" 200 13`: who, what, status, milliseconds."""
        version = "1.1" if self.http11 else "1.0"
        line = f"{_quoted(self.method)} {_quoted(self.target)} HTTP/{version}"
        return f'/{_peer(self.peer)} "{line}" {self.status} {int(self.took * 1000)}'


def _peer(peer: object) -> str:
    if isinstance(peer, (tuple, list)) and len(peer) >= 2:
        return f"{peer[0]}:{peer[1]}"
    return str(peer or "unknown")


def _quoted(text: str) -> str:
    """Printable ASCII without quotes: a line of the log can't be forged by a request's target."""
    if text.isascii() and text.isprintable() and '"' not in text:
        return text
    return text.encode("unicode_escape").decode("ascii").replace('"', "%22")
