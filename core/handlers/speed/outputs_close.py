"""Whether two outputs of a model are equal except for rounding, and by how much they differ. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch


def outputs_close(found: Any, expected: Any, device: torch.device) -> bool:
    """Return whether all tensors agree within what another order of summing may change.

    Containers must have the same type, keys and length. The tolerance is relative to the largest absolute value
    expected.
    """
    # TF32 has a mantissa of ten bits, as half precision has.
    return all(
        share <= (1e-2 if device.type == "cuda" or size < 4 else 1e-4) for share, size in _differences(found, expected)
    )


def largest_difference(found: Any, expected: Any) -> float:
    """Return by how much values differ at most, as a share of the largest absolute value of their tensor.

    Infinity if the outputs are not alike in type, keys, length, shape, or in what is no floating-point number.
    """
    return max([share for share, _ in _differences(found, expected)], default=0.0)


def _differences(found: Any, expected: Any) -> Iterator[tuple[float, int]]:
    """Yield for each tensor expected the difference as a share of its largest value, and the bytes of a value."""
    if isinstance(expected, torch.Tensor):
        yield _difference(found, expected), expected.dtype.itemsize
    elif isinstance(expected, dict):
        if not isinstance(found, dict) or found.keys() != expected.keys():
            yield math.inf, 0
            return
        for key in expected:
            yield from _differences(found[key], expected[key])
    elif type(found) is not type(expected):  # named tuples included: users read their fields by name
        yield math.inf, 0
    elif isinstance(expected, list | tuple):
        if len(found) != len(expected):
            yield math.inf, 0
            return
        for one, other in zip(found, expected, strict=True):
            yield from _differences(one, other)


def _difference(found: Any, expected: torch.Tensor) -> float:
    if not isinstance(found, torch.Tensor) or (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return math.inf
    if not expected.dtype.is_floating_point or not expected.numel():
        return 0.0 if torch.equal(found, expected) else math.inf
    off, largest = float((found - expected).abs().max()), float(expected.abs().max())
    if off == 0.0:
        return 0.0
    share = off / largest if largest else math.inf
    return math.inf if math.isnan(share) else share
