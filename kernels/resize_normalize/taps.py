"""Taps: the pixels that an output pixel is made of, and their weights, computed as Pillow does. Imports numpy.

They are made on the host, since a GPU is slow at the double precision this takes, and since the same sizes recur.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .frame import Frame, Part

BITS = 22  # of a weight's fraction: a byte times a weight, with a sign, is an int32
FIELDS = 7  # of a picture's row in `Tables.frames`
OUTSIDE = -1
FILTERS = {"bilinear": 1.0, "bicubic": 2.0}
"""The reach of each filter, in pixels of the result if that is smaller, else of the source."""


class Taps(NamedTuple):
    """The first source place of each output place, or OUTSIDE; weights by tap and place, adding up to 1 << BITS."""

    starts: NDArray[np.int32]
    weights: NDArray[np.int32]


class Tables(NamedTuple):
    """The tables that a launch reads: a row of FIELDS for each picture, and the taps that the rows point into."""

    frames: NDArray[np.int64]
    taps: NDArray[np.int32]


@lru_cache(maxsize=256)  # of 10 KB each for photos, 150 KB for the largest
def axis(size: int, resized: int, corner: int, output: int, name: str) -> Taps:
    """Return the taps of `output` places from `corner` on, of `size` source places resized to `resized`.

    Every window lies wholly in the source, with weights of 0 where a window had to be moved: no load needs a mask.
    """
    places = np.arange(corner, corner + output)
    scale = size / resized
    stretch = max(scale, 1.0)
    reach = FILTERS[name] * stretch
    centers = (places + 0.5) * scale
    first = np.maximum((centers - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centers + reach + 0.5).astype(np.int64), size)
    inside = (places >= 0) & (places < resized)
    count = int((last - first)[inside].max()) if inside.any() else 1
    starts = np.where(inside, np.minimum(first, size - count), 0)
    weights = np.zeros((count, output))
    total = np.zeros(output)
    for tap in range(count):
        place = starts + tap
        used = inside & (place >= first) & (place < last)
        weights[tap] = np.where(used, _filter((place - centers + 0.5) * (1 / stretch), name), 0.0)
        total += weights[tap]
    scaled = weights / np.where(total == 0, 1.0, total) * (1 << BITS)
    rounded = np.trunc(np.where(scaled < 0, scaled - 0.5, scaled + 0.5)).astype(np.int32)
    return Taps(np.where(inside, starts, OUTSIDE).astype(np.int32), rounded)


def _filter(distance: NDArray[Any], name: str) -> NDArray[Any]:
    """Return a triangle, or Catmull and Rom's cubic, at these distances from the middle."""
    x = np.abs(distance)
    if name == "bilinear":
        return np.where(x < 1, 1 - x, 0.0)
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def both(frame: Frame, name: str) -> tuple[Taps, Taps]:
    """Return the taps of a picture's rows and of its columns."""
    rows, columns = (
        axis(size, resized, corner, output, name)
        for size, resized, corner, output in zip(frame.size, frame.resized, frame.corner, frame.output, strict=True)
    )
    if frame.part is not None:
        return _from(rows, frame.part.top), _from(columns, frame.part.left)
    return rows, columns


def _from(taps: Taps, first: int) -> Taps:
    """Return the same taps for a source that begins at its place `first`."""
    return Taps(np.where(taps.starts == OUTSIDE, OUTSIDE, taps.starts - first).astype(np.int32), taps.weights)


def needed(frame: Frame, name: str) -> Part:
    """Return the least part of the picture that its output is made of."""
    (top, height), (left, width) = (_span(taps) for taps in both(frame, name))
    return Part(top, left, height, width)


def _span(taps: Taps) -> tuple[int, int]:
    inside = taps.starts[taps.starts != OUTSIDE]
    first = int(inside.min())
    return first, int(inside.max()) + len(taps.weights) - first


def tables(frames: tuple[Frame, ...], channels: int, name: str) -> Tables:
    """Return the tables of a batch.

    A picture's row is: its first byte, bytes per row, number of taps of rows and of columns, where in `taps` the starts
    of either lie (with their weights right behind them), and whether the vertical pass is the first.
    """
    described = np.empty((len(frames), FIELDS), dtype=np.int64)
    where: dict[int, int] = {}
    parts: list[NDArray[np.int32]] = []
    end = 0
    every = [both(frame, name) for frame in frames]
    for row, frame, taps in zip(described, frames, every, strict=True):
        for each in taps:
            if id(each) not in where:  # the cache gives the same object for the same sizes, of whole pictures
                where[id(each)] = end
                parts += [each.starts, each.weights.ravel()]
                end += each.starts.size + each.weights.size
        counts = [len(each.weights) for each in taps]
        places = [where[id(each)] for each in taps]
        row[:] = (frame.offset, frame.stored[1] * channels, *counts, *places, frame.vertical_first)
    return Tables(described, np.concatenate(parts) if parts else np.empty(0, dtype=np.int32))
