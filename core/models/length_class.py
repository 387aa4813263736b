"""The class of length of a request, by the bytes of its body."""

from __future__ import annotations

from bisect import bisect_left

from ..payload import Payload


def length_class(payload: Payload, buckets: tuple[int, ...]) -> int:
    """Return the first bucket that is as long as the request, counted from 0; their number if none is."""
    return bisect_left(buckets, sum([len(part.body) for part in payload.parts]))
