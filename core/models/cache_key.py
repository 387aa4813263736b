"""The key of a request: what makes two requests to a model version alike, so that one's answer may be the other's.

The key covers the input and every header that the handler gets to see: those that the model's yaml names, those that
say who asks (a key, a cookie), and those that say what the input is and what answer is accepted. Of a model with a
cache the handler sees no other header. So no header that is outside the key can change an answer that others get: a
cache can't be poisoned by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from ..payload import Payload

# Who asks, and what for. `explain` and `url_path` are the routes' own.
_ALWAYS = frozenset((
    "authorization", "proxy-authorization", "cookie", "x-api-key", "api-key",
    "accept", "accept-language", "content-type", "content-encoding", "explain", "url_path",
    "inference-header-content-length",
))  # fmt: skip
LARGEST = 4 << 20  # bytes of a request: hashing more would hold up the event loop


def cache_key(payload: Payload, headers: Iterable[str]) -> tuple[bytes, Payload] | None:
    """Return the key of a request, and the request with the headers that its handler may see; None if it is too large.

    `headers` are the lower-case names of those that the yaml adds.
    """
    parts = payload.parts
    if sum(len(part.body) for part in parts) > LARGEST:
        return None
    seen = _seen(payload.headers, _ALWAYS.union(headers))
    digest = blake2b(digest_size=24)

    def add(piece: bytes | bytearray | memoryview) -> None:
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)

    for name, value in sorted(seen.items()):
        add(name.encode("utf-8", "surrogatepass"))
        add(value.encode("utf-8", "surrogatepass"))
    digest.update(b"/")
    if payload.infer is not None:
        add(msgspec.msgpack.encode(payload.infer))
    for part in parts:
        add(part.name.encode("utf-8", "surrogatepass"))
        add(part.content_type.encode("utf-8", "surrogatepass"))
        add(part.body)
    return digest.digest(), replace(payload, headers=seen)


def _seen(headers: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    """Return the headers of these names, as they were spelt; a form's without the boundary, which is drawn by lot."""
    seen: dict[str, str] = {}
    form = False
    for name, value in headers.items():
        lower = name.lower()
        if lower not in names and lower != "content-length":
            continue
        if lower == "content-type" and value.lower().startswith("multipart/"):
            value, form = value.partition(";")[0], True  # noqa: PLW2901
        seen[name] = value
    return {name: value for name, value in seen.items() if name.lower() != "content-length"} if form else seen
