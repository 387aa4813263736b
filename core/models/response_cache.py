"""ResponseCache: the answers of a model version that may be given again, the least recently used going first.

Pure: the time (s) is an argument.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Any

from msgspec.structs import replace

from ..config.cache_options import CacheOptions
from ..payload import Reply
from .shared_answers import SharedAnswers

HEADER = "x-torchserve-cache"
RESULTS: tuple[str, ...] = ("hit", "miss", "shared", "bypass")
_OVERHEAD = 512  # bytes that an entry takes beside its body and headers, about


class _Entry:
    __slots__ = ("expires", "reply", "size")

    def __init__(self, reply: Reply, size: int, expires: float) -> None:
        self.reply = reply
        self.size = size
        self.expires = expires


class ResponseCache:
    """A cache of whole answers by key. `results` counts what became of requests, by RESULTS, and `purges` how often
    everything was dropped. If there are `shared` answers, they are those that other servers keep, too."""

    def __init__(self, options: CacheOptions) -> None:
        self.options = options
        self.bytes = 0
        self.purges = 0
        self.results = dict.fromkeys(RESULTS, 0)
        self.shared: SharedAnswers | None = None
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> Reply | None:
        """Return the answer that is kept under `key`, with headers that say so; None if there is none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= now:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return labelled(entry.reply, "hit", entry.expires - now)

    def put(self, key: bytes, reply: Reply, now: float, ttl: float | None = None, epoch: bytes = b"") -> Reply:
        """Keep an answer under `key` for `ttl` seconds if it may be kept, and return it with headers that say so.

        Its body is copied: it may lie in memory that its worker wants back. If its computation began in an `epoch` of
        the shared answers, it is kept among these, too.
        """
        ttl = self.options.ttl if ttl is None else ttl
        size = len(reply.body) + sum(len(name) + len(value) for name, value in reply.headers) + _OVERHEAD
        if not may_keep(reply) or size > self.options.max_bytes or ttl <= 0:
            return labelled(reply, "miss", None)
        body = reply.body if isinstance(reply.body, bytes) else bytes(reply.body)
        kept = replace(reply, body=body, headers=(*reply.headers, *_tag(reply, body)))
        self._drop(key)
        self._entries[key] = _Entry(kept, size, now + ttl)
        self.bytes += size
        if epoch and self.shared is not None:
            self.shared.keep(key, kept, ttl, epoch)
        while self.bytes > self.options.max_bytes:
            self._drop(next(iter(self._entries)))
        return labelled(kept, "miss", ttl)

    def purge(self) -> int:
        """Drop everything. Return how many answers that were."""
        count = len(self._entries)
        self.purges += 1  # what computes now has begun before
        self._entries.clear()
        self.bytes = 0
        if self.shared is not None:
            self.shared.purge()
        return count

    def described(self) -> dict[str, Any]:
        """Return what describing a model shows of its cache."""
        options = self.options
        found: dict[str, Any] = {
            "ttl": options.ttl,
            "maxBytes": options.max_bytes,
            "key": list(options.headers) or "body",
        }
        found |= {"answers": len(self), "bytes": self.bytes, **self.results}
        return found if self.shared is None else found | {"redis": dict(self.shared.results)}

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size


def may_keep(reply: Reply) -> bool:
    """Return whether an answer may be given again: a success whose handler doesn't forbid it by a header."""
    return reply.status == 200 and not for_one_only(reply)


def for_one_only(reply: Reply) -> bool:
    """Return whether the handler has said by a header that the answer is for the one client who asked."""
    for name, value in reply.headers:
        lower = name.lower()
        if lower == "set-cookie" or (lower == "vary" and "*" in value):
            return True
        if lower == "cache-control" and any(word in value.lower() for word in ("no-store", "private", "no-cache")):
            return True
    return False


def labelled(reply: Reply, result: str, left: float | None) -> Reply:
    """Return an answer with headers that say what became of the request, and for how many seconds it is still kept."""
    theirs = [field for field in reply.headers if field[0].lower() != HEADER]
    if left is not None and not any(name.lower() == "cache-control" for name, _ in theirs):
        theirs.append(("Cache-Control", f"private, max-age={max(0, int(left))}"))
    return replace(reply, headers=(*theirs, (HEADER, result)))


def _tag(reply: Reply, body: bytes) -> tuple[tuple[str, str], ...]:
    if any(name.lower() == "etag" for name, _ in reply.headers):
        return ()
    return (("ETag", f'W/"{blake2b(body, digest_size=16).hexdigest()}"'),)


def wishes(value: str) -> tuple[bool, bool]:
    """Return whether a request with this Cache-Control may be answered by what is kept, and whether it may be kept."""
    words = {word.strip().partition("=")[0].lower() for word in value.split(",")}
    return words.isdisjoint(("no-cache", "no-store")), "no-store" not in words
