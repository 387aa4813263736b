"""The sizes to which a model's batches are padded: `paddedBatchSizes` of its yaml, which front and worker read."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

log = logging.getLogger(__name__)


def padded_sizes(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the ascending sizes, () if there are none or the value is not such a list."""
    sizes = config.get("paddedBatchSizes")
    if not isinstance(sizes, list) or not all(type(size) is int and 0 < size < 2**31 for size in sizes):
        return ()
    return tuple(sizes) if all(below < size for below, size in pairwise(sizes)) else ()


def read_padded_sizes(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return `padded_sizes`, and log a warning if the value is of any other kind."""
    sizes, said = padded_sizes(config), config.get("paddedBatchSizes")
    if said is not None and not sizes:
        log.warning(
            "model-config.yaml: paddedBatchSizes must be a list of ascending whole numbers, not %r; nothing is padded",
            said,
        )
    return sizes


def within_padding(batch_size: int, sizes: Sequence[int]) -> int:
    """Return `batch_size`, but at most the largest size: the model was not made for a larger batch."""
    if not sizes or batch_size <= sizes[-1]:
        return batch_size
    log.warning(
        "model-config.yaml: batches are of at most %d, as paddedBatchSizes ends there, not of %d", sizes[-1], batch_size
    )
    return sizes[-1]
