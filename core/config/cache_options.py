"""CacheOptions: the section `cache` of a model-config.yaml, of a model whose answers are kept and given again.

cache:
  ttl: 60            # seconds
  maxBytes: 256MB
  key: body          # or a list of headers, whose values count besides the body
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from .byte_size import read_size

log = logging.getLogger(__name__)

_LONGEST = 31 * 86400  # s
_MOST_HEADERS = 32
_DEFAULT_SIZE = 256_000_000
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """The bounds of a cache: seconds, bytes, and the headers (lower-case names) that count beside the body."""

    ttl: float
    max_bytes: int = _DEFAULT_SIZE
    headers: tuple[str, ...] = ()


def read_cache(config: Mapping[str, Any]) -> CacheOptions | None:
    """Return the options of the cache, None if there is none. A section that is wrong is logged, and nothing is kept:
    an answer that is kept too long, or given for another question, is worse than none.
    """
    said = config.get("cache")
    if said is None or said is False:
        return None
    try:
        return _read(said)
    except ValueError as error:
        log.warning("model-config.yaml: cache is ignored, and no answer is kept: %s", error)
        return None


def _read(said: object) -> CacheOptions:
    if not isinstance(said, dict):
        raise ValueError(f"it must have the keys ttl, maxBytes and key, not be {said!r:.80}")  # noqa: TRY004  (a yaml's)
    section = cast("dict[str, Any]", said)
    unknown = [str(key)[:40] for key in section if key not in {"ttl", "maxBytes", "key"}]
    if unknown:
        raise ValueError(f"there is no key {unknown[0]!r} in it; there are ttl, maxBytes and key")
    ttl = section.get("ttl")
    if not isinstance(ttl, int | float) or isinstance(ttl, bool) or not 0 < ttl <= _LONGEST:
        raise ValueError(f"ttl must be seconds, above 0 and up to {_LONGEST}, not {ttl!r:.80}")
    size = read_size(section.get("maxBytes", _DEFAULT_SIZE), unit=1)
    if size is None:
        raise ValueError(f"maxBytes must be bytes, or like 256MB, not {section['maxBytes']!r:.80}")
    return CacheOptions(float(ttl), size, _headers(section.get("key", "body")))


def _headers(key: object) -> tuple[str, ...]:
    if key == "body":
        return ()
    named = cast("list[object]", key) if isinstance(key, list) else []
    names = tuple(name.lower() for name in named if isinstance(name, str) and _HEADER.fullmatch(name))
    if not names or len(names) != len(named) or len(names) > _MOST_HEADERS:
        raise ValueError(f"key must be `body`, or a list of up to {_MOST_HEADERS} names of headers, not {key!r:.80}")
    return names
