"""Where a picture goes: Fit is the rule for any picture, Frame what the rule says of one. Sizes are (height, width).

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
    """One picture of `size`, resized to `resized`, of which the output is `output` pixels from `corner` on.

    What of the output lies beside the resized picture is padding; a negative corner puts padding above or to the left.
    """

    size: Size
    resized: Size
    corner: Size
    output: Size
    vertical_first: bool = False
    """Which of the two passes comes first: pixels are rounded between them, so it shows."""
    offset: int = 0
    """Where among the bytes of all pictures this one's begin."""
    part: Part | None = None
    """What of the picture lies there, if not the whole."""

    @property
    def stored(self) -> Size:
        """The size of what lies among the bytes."""
        return (self.part.height, self.part.width) if self.part else self.size


@dataclass(frozen=True, slots=True)
class Fit:
    """How pictures are made to fit: resized, or not, by the rule that `resize` is, then cropped or padded to `crop`.

    `resize`: a number is the shorter side's length (and `longest` the most the other may get), a size is just that.
    With `letterbox` the picture is made as large as `crop` holds, and centred in it; then `resize` counts for nothing.
    With `as_pillow` the passes come in the order Pillow 13 takes, else columns are always made first.
    """

    crop: Size | None = None
    resize: int | Size | None = None
    longest: int | None = None
    letterbox: bool = False
    as_pillow: bool = True

    def frame(self, size: Size) -> Frame:
        """What becomes of a picture of `size`. Raises ValueError where a side would become 0 pixels long."""
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
    """The largest size of the same shape that `box` holds."""
    scale = min(box[0] / size[0], box[1] / size[1])
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def centred(size: Size, crop: Size) -> Size:
    """The corner of the middle of `size`; where `crop` is the larger one, half of what is missing comes before."""
    top, left = (
        -((wanted - side) // 2) if wanted > side else round((side - wanted) / 2)
        for side, wanted in zip(size, crop, strict=True)
    )
    return top, left


def vertical_first(size: Size, resized: Size) -> bool:
    """Does Pillow 13 make rows of rows before columns of columns? Found by comparing its answers with both orders."""
    fewer_rows, fewer_columns = size[0] - resized[0], size[1] - resized[1]
    return fewer_rows > 0 and fewer_rows > 2 * fewer_columns


def packed(frames: Sequence[Frame], channels: int) -> tuple[Frame, ...]:
    """The frames of pictures that lie one behind the other."""
    placed, offset = [], 0
    for frame in frames:
        placed.append(replace(frame, offset=offset))
        offset += frame.stored[0] * frame.stored[1] * channels
    return tuple(placed)


def one_size(frames: Sequence[Frame], fit: Fit) -> Size:
    """The size of all outputs. Raises ValueError where they differ."""
    sizes = {frame.output for frame in frames} or {fit.crop or (0, 0)}
    if len(sizes) > 1:
        raise ValueError(f"a batch has one size, but these pictures come out as {sorted(sizes)}: name a crop")
    return sizes.pop()
