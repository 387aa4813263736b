"""Entry: one line of the access log. Made on the event loop, turned to text by whoever writes it."""

from __future__ import annotations

from functools import partial
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
        _, peer, method, target, status, took, http11, _ = self  # one step, where eight are dear: each request is here
        asked = _quoted(f"{method} {target}")
        shown = peer if peer and type(peer) is str else peer_text(peer)
        return f'/{shown} "{asked} HTTP/{"1.1" if http11 else "1.0"}" {status} {int(took * 1000)}'


# An Entry without the detour through its keywords, for what every request does.
entry = partial(tuple.__new__, Entry)


def peer_text(peer: object) -> str:
    """`127.0.0.1:51234`, or the name of a client that has no port. Also of what is that text already."""
    if isinstance(peer, (tuple, list)) and len(peer) >= 2:
        return f"{peer[0]}:{peer[1]}"
    return str(peer or "unknown")


def _quoted(text: str) -> str:
    """Printable ASCII without quotes: a line of the log can't be forged by a request's target."""
    if text.isascii() and text.isprintable() and '"' not in text:
        return text
    return text.encode("unicode_escape").decode("ascii").replace('"', "%22")
