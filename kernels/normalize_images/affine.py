"""(x / 255 - mean) / std as x * scale + shift, one multiply-add for three operations. Imports nothing."""

from __future__ import annotations

from collections.abc import Sequence


def affine(mean: Sequence[float], std: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return scales and shifts by channel, in double precision: they are rounded to fp32 once, where they are used."""
    scales = [1 / (255 * deviation) for deviation in std]
    shifts = [-average / deviation for average, deviation in zip(mean, std, strict=True)]
    return scales, shifts
