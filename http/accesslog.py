"""Entry: one line of the access log. It is made on the event loop, and its text where the log is written."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache, partial
from typing import NamedTuple


class Entry(NamedTuple):
    """An answered request. `at` is in seconds since the epoch, `took` in seconds; the log's writer adds the date.

    `trace_id` is there for requests that are recorded.
    """

    at: float
    peer: Hashable
    method: str
    target: str
    status: int
    took: float
    version: str = "1.1"
    request_id: str = ""
    trace_id: str = ""

    def text(self) -> str:
        """Return client, request, status and milliseconds: `/127.0.0.1:51234 "POST /predictions/x HTTP/1.1" 200 13`."""
        _, peer, method, target, status, took, version, _, _ = self  # one unpacking: nine lookups per request cost more
        return f"{_asked(peer, method, target, version)} {status} {int(took * 1000)}"


# Makes an Entry of a tuple. Entry(...) takes longer, as it goes through Python code, and every request makes one.
entry = partial(tuple.__new__, Entry)


@lru_cache(maxsize=1024)  # a connection asks the same again and again, and each entry holds up the event loop
def _asked(peer: Hashable, method: str, target: str, version: str) -> str:
    asked = _quoted(f"{method} {target}")
    return f'/{peer_text(peer)} "{asked} HTTP/{version}"'


def peer_text(peer: object) -> str:
    """Return `127.0.0.1:51234`, `[::1]:51234`, or the name of a client without a port, which is returned as it is."""
    if isinstance(peer, (tuple, list)) and len(peer) >= 2:
        return f"[{peer[0]}]:{peer[1]}" if ":" in str(peer[0]) else f"{peer[0]}:{peer[1]}"
    return str(peer or "unknown")


def _quoted(text: str) -> str:
    """Return printable ASCII without quotes, so that no request's target can forge a line of the log."""
    if text.isascii() and text.isprintable() and '"' not in text:
        return text
    return text.encode("unicode_escape").decode("ascii").replace('"', "%22")
