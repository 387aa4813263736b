"""Load: the layout of a batch's buffer: the tables, then the pictures of the host, then those of the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .jpeg import Jpeg, Source
from .resize_normalize.frame import Fit, Frame, Size, packed
from .resize_normalize.taps import needed, tables

_ALIGNED = 256


def placed(pictures: Sequence[Source], fit: Fit, channels: int, name: str) -> tuple[Frame, ...]:
    """Return where the needed part of each picture lies; what the device may decode lies behind what the host sends."""
    frames = [fit.frame(size(picture)) for picture in pictures]
    order = sorted(range(len(frames)), key=lambda number: isinstance(pictures[number], Jpeg))
    parts = packed([replace(frames[number], part=needed(frames[number], name)) for number in order], channels)
    return tuple(part for _, part in sorted(zip(order, parts, strict=True), key=lambda pair: pair[0]))


def size(picture: Source) -> Size:
    """Return the (height, width) of a picture."""
    return picture.size if isinstance(picture, Jpeg) else (picture.shape[0], picture.shape[1])


@dataclass(frozen=True)
class Load:
    """The contents of a batch's buffer of `size` bytes: tables up to `start`, and the pictures behind them.

    Offsets in the tables count from the buffer's beginning: a graph reads at one address, whatever lies there.
    """

    described: NDArray[np.int64]
    taps: NDArray[np.int32]
    start: int
    size: int

    @staticmethod
    def of(frames: tuple[Frame, ...], channels: int, name: str, rows: int) -> Load:
        """Lay out a batch of `rows` rows; rows without a picture repeat the first one."""
        described, taps = tables(frames, channels, name)
        described = np.concatenate([described, described[:1].repeat(rows - len(frames), axis=0)])
        start = -(-(described.nbytes + taps.nbytes) // _ALIGNED) * _ALIGNED
        described[:, 0] += start
        described[:, 4:6] += described.nbytes // taps.itemsize
        ends = [frame.offset + frame.stored[0] * frame.stored[1] * channels for frame in frames]
        return Load(described, taps, start, start + max(ends))
