"""Whether two outputs of a model are equal except for rounding. Imports torch."""

from __future__ import annotations

from typing import Any

import torch


def outputs_close(found: Any, expected: Any, device: torch.device) -> bool:
    """Return whether all tensors agree within what another order of summing may change.

    Containers must have the same type, keys and length. The tolerance is relative to the largest absolute value
    expected.
    """
    if isinstance(expected, torch.Tensor):
        if not isinstance(found, torch.Tensor) or (found.shape, found.dtype) != (expected.shape, expected.dtype):
            return False
        if not expected.dtype.is_floating_point or not expected.numel():
            return torch.equal(found, expected)
        # TF32 has a mantissa of ten bits, as half precision has.
        coarse = device.type == "cuda" or expected.dtype.itemsize < 4
        allowed = (1e-2 if coarse else 1e-4) * float(expected.abs().max())
        return float((found - expected).abs().max()) <= allowed
    if isinstance(expected, dict):
        same = isinstance(found, dict) and found.keys() == expected.keys()
        return same and all(outputs_close(found[key], expected[key], device) for key in expected)
    if isinstance(expected, list | tuple):  # named tuples must have the same type: users read their fields by name
        same = type(found) is type(expected) and len(found) == len(expected)
        return same and all(map(lambda a, b: outputs_close(a, b, device), found, expected))
    return type(found) is type(expected)
