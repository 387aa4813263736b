"""The key `lengthBuckets` of model-config.yaml: the sizes of requests by which batches of like length are formed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

log = logging.getLogger(__name__)

MOST: Final = 16  # buckets: each is measured by itself, and what is measured of many is little


def read_length_buckets(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the ascending bytes up to which a request belongs to each bucket, () if there are none.

    A value that is no such list is logged and not used.
    """
    said = config.get("lengthBuckets")
    if said is None:
        return ()
    listed = isinstance(said, list) and 1 <= len(said) <= MOST
    if listed and all(type(size) is int and 0 < size < 2**31 for size in said) and sorted(set(said)) == said:
        return tuple(said)
    log.warning(
        "model-config.yaml: lengthBuckets must be a list of 1 to %d ascending whole numbers of bytes, not %s; batches"
        " are formed without it",
        *(MOST, repr(said)[:80]),
    )
    return ()
