"""Fit, the rule by which pictures are made to fit, and Frame, what it says of one picture. Sizes are (height, width).

Imports nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

Size = tuple[int, int]


class Part(NamedTuple):
    """A rectangle of a picture."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture of `size` that is resized to `resized`, of which `output` pixels from `corner` on are the output.

    Pixels of the output beside the resized picture are padding; a negative corner puts padding above or to the left.
    """

    size: Size
    resized: Size
    corner: Size
    output: Size
    vertical_first: bool = False
    """Whether rows are made before columns: pixels are rounded between the two passes, so the order shows."""
    offset: int = 0
    """The place of this picture's first byte among the bytes of all pictures."""
    part: Part | None = None
    """The part of the picture that lies there; None: the whole."""

    @property
    def stored(self) -> Size:
        """The size of the part that lies among the bytes."""
        return (self.part.height, self.part.width) if self.part else self.size


@dataclass(frozen=True, slots=True)
class Fit:
    """A rule by which pictures are made to fit: resized, if `resize` says so, then cropped or padded to `crop`.

    A number as `resize` is the shorter side's length (and `longest` the most that the other may get), a size is the new
    size. With `letterbox` the picture is made as large as `crop` holds, and centred in it; `resize` is ignored then.
    With `as_pillow` the passes come in the order that Pillow 13 takes, else columns are always made first.
    """

    crop: Size | None = None
    resize: int | Size | None = None
    longest: int | None = None
    letterbox: bool = False
    as_pillow: bool = True

    def frame(self, size: Size) -> Frame:
        """Return the frame of a picture of `size`. Raises ValueError if a side would become 0 pixels long."""
        if self.letterbox and self.crop:
            resized = boxed(size, self.crop)
            corner = tuple(-round((box - side) / 2 - 0.1) for box, side in zip(self.crop, resized, strict=True))
        else:
            resized = self._resized(size)
            corner = centred(resized, self.crop) if self.crop else (0, 0)
        if 0 in resized:
            raise ValueError(
                f"a picture of {size[0]} x {size[1]} pixels would become one of {resized[0]} x {resized[1]}"
            )
        first = self.as_pillow and vertical_first(size, resized)
        return Frame(size, resized, (corner[0], corner[1]), self.crop or resized, first)

    def _resized(self, size: Size) -> Size:
        if self.resize is None:
            return size
        if isinstance(self.resize, tuple):
            return self.resize
        short, long = sorted(size)
        new_short, new_long = self.resize, int(self.resize * long / short)
        if self.longest is not None and new_long > self.longest:
            new_short, new_long = int(self.longest * new_short / new_long), self.longest
        return (new_long, new_short) if size[1] <= size[0] else (new_short, new_long)


def boxed(size: Size, box: Size) -> Size:
    """Return the largest size of the same shape that `box` holds."""
    scale = min(box[0] / size[0], box[1] / size[1])
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def centred(size: Size, crop: Size) -> Size:
    """Return the corner of a `crop` in the middle of `size`; if it is the larger one, half the padding comes before."""
    top, left = (
        -((wanted - side) // 2) if wanted > side else round((side - wanted) / 2)
        for side, wanted in zip(size, crop, strict=True)
    )
    return top, left


def vertical_first(size: Size, resized: Size) -> bool:
    """Return whether Pillow 13 resizes rows before columns; found by comparing its answers with both orders."""
    fewer_rows, fewer_columns = size[0] - resized[0], size[1] - resized[1]
    return fewer_rows > 0 and fewer_rows > 2 * fewer_columns


def packed(frames: Sequence[Frame], channels: int) -> tuple[Frame, ...]:
    """Return the frames of pictures that lie one behind the other."""
    placed, offset = [], 0
    for frame in frames:
        placed.append(replace(frame, offset=offset))
        offset += frame.stored[0] * frame.stored[1] * channels
    return tuple(placed)


def one_size(frames: Sequence[Frame], fit: Fit) -> Size:
    """Return the size of all outputs. Raises ValueError if they differ."""
    sizes = {frame.output for frame in frames} or {fit.crop or (0, 0)}
    if len(sizes) > 1:
        raise ValueError(f"a batch has one size, but these pictures come out as {sorted(sizes)}: name a crop")
    return sizes.pop()
