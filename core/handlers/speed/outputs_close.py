"""alike: whether two answers of a model are the same but for rounding. Imports torch."""

from __future__ import annotations

from typing import Any

import torch


def alike(found: Any, expected: Any, device: torch.device) -> bool:
    """Whether all tensors agree, but for what another order of summing does to the last digits."""
    if isinstance(expected, torch.Tensor):
        if not isinstance(found, torch.Tensor) or (found.shape, found.dtype) != (expected.shape, expected.dtype):
            return False
        if not expected.dtype.is_floating_point or not expected.numel():
            return torch.equal(found, expected)
        coarse = device.type == "cuda" or expected.dtype.itemsize < 4  # TF32 has ten bits, as half precision
        allowed = (1e-2 if coarse else 1e-4) * float(expected.abs().max())
        return float((found - expected).abs().max()) <= allowed
    if isinstance(expected, dict):
        same = isinstance(found, dict) and found.keys() == expected.keys()
        return same and all(alike(found[key], expected[key], device) for key in expected)
    if isinstance(expected, list | tuple):  # of a named tuple the fields are asked for by name
        same = type(found) is type(expected) and len(found) == len(expected)
        return same and all(map(lambda a, b: alike(a, b, device), found, expected))
    return type(found) is type(expected)
