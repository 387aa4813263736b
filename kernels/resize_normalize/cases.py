"""The cases that the versions are compared on: up and down, extreme shapes, padding, and every type and layout."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import torch
from torch import Tensor

from ..normalize_images.cases import DTYPES, IMAGENET_MEAN, IMAGENET_STD, LAYOUTS
from ..op import Budget
from .frame import Fit, Frame, Size, packed
from .taps import needed


@dataclass(frozen=True)
class ResizeCase:
    """A batch of pictures of `sizes` made to fit: noise, of grey levels or (`stark`) black and white."""

    sizes: tuple[Size, ...]
    fit: Fit
    resample: str = "bilinear"
    dtype: torch.dtype = torch.float32
    layout: torch.memory_format = torch.contiguous_format
    channels: int = 3
    fill: int = 0
    stark: bool = False
    parts: bool = False
    """Whether only the needed part of each picture is there."""
    mean: tuple[float, ...] = field(default=IMAGENET_MEAN)
    std: tuple[float, ...] = field(default=IMAGENET_STD)

    @property
    def name(self) -> str:
        sizes = "+".join(f"{height}x{width}" for height, width in self.sizes) or "none"
        frame = self.frames()[0] if self.sizes else None
        to = f"-to-{frame.resized[0]}x{frame.resized[1]}-crop-{frame.output[0]}x{frame.output[1]}" if frame else ""
        kind = f"{str(self.dtype).removeprefix('torch.')}-{LAYOUTS[self.layout]}"
        extras = ("-stark" if self.stark else "") + "-letterbox" * self.fit.letterbox + "-parts" * self.parts
        return f"{sizes}{to}-{self.resample}-{self.channels}ch-{kind}{extras}"

    def frames(self) -> tuple[Frame, ...]:
        frames = [self.fit.frame(size) for size in self.sizes]
        if self.parts:
            frames = [replace(frame, part=needed(frame, self.resample)) for frame in frames]
        return packed(frames, self.channels)

    def inputs(self) -> tuple[Tensor, tuple[Frame, ...], str, int, tuple[float, ...], tuple[float, ...]]:
        length = sum(height * width for height, width in (frame.stored for frame in self.frames())) * self.channels
        pixels = torch.randint(0, 256, (length,), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        if self.stark:
            pixels = (pixels >> 7) * 255
        return pixels, self.frames(), self.resample, self.fill, self.mean[: self.channels], self.std[: self.channels]

    def output(self) -> Tensor:
        size = self.fit.crop or (self.frames()[0].output if self.sizes else (1, 1))
        shape = (len(self.sizes), self.channels, *size)
        return torch.empty(shape, dtype=self.dtype, memory_format=self.layout)


_RAGGED = ((30, 40), (37, 19), (8, 8), (99, 40))  # down both ways, up, and one whose rows come first
_DOWN_AND_UP = _RAGGED[1:3]
_SMALL = Fit(crop=(18, 34), resize=36)  # a tile and a little in both directions

CASES = (
    ResizeCase(_RAGGED, _SMALL),
    *(ResizeCase(_DOWN_AND_UP, _SMALL, dtype=dtype, layout=layout) for dtype, layout in product(DTYPES, LAYOUTS)),
    *(ResizeCase(_DOWN_AND_UP, _SMALL, "bicubic", layout=layout, stark=True) for layout in LAYOUTS),
    *(ResizeCase(_RAGGED, Fit(crop=(9, 7), resize=11), name, channels=1) for name in ("bilinear", "bicubic")),
    ResizeCase(((50, 23), (5, 90)), Fit(resize=(12, 40)), "bicubic"),
    ResizeCase(((1, 1), (1, 40), (300, 3)), Fit(crop=(10, 10), resize=10), stark=True),
    ResizeCase(((20, 30), (7, 5)), Fit(crop=(24, 26)), fill=7),  # no resize: cropped here, padded there
    ResizeCase(((20, 30), (40, 5)), Fit(crop=(17, 17), letterbox=True), fill=114),
    ResizeCase(_RAGGED, _SMALL, "bicubic", parts=True),
    ResizeCase(((60, 90), (99, 40)), Fit(crop=(10, 14), resize=40), layout=torch.channels_last, parts=True),
    ResizeCase((), _SMALL),
)


def _budget(dtype: torch.dtype, layout: torch.memory_format, registers: int, store: int) -> Budget:
    """Return the budget of a photo made to a usual model's input."""
    case = ResizeCase(((375, 500),), Fit(crop=(224, 224), resize=256), dtype=dtype, layout=layout)
    return Budget(case, registers, shared=0, store=store)


# 64 registers let a multiprocessor hold 32 warps, 80 let it hold 24: loads of single bytes want company.
# A thread has 4 pixels of a plane side by side: 64 bits of fp16, 128 of fp32. Interleaved they are 3 values apart.
BUDGETS = (
    *(_budget(dtype, torch.contiguous_format, registers=64, store=4 * dtype.itemsize * 8) for dtype in DTYPES),
    *(_budget(dtype, torch.channels_last, registers=80, store=dtype.itemsize * 8) for dtype in DTYPES),
)
