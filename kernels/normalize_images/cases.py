"""The cases that the versions are compared on: sizes around the blocks' edges, every type and layout; and budgets.

Imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

from ..op import Budget

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LAYOUTS = {torch.contiguous_format: "nchw", torch.channels_last: "channels_last"}
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class NormalizeCase:
    """A batch of `shape` (N, H, W, C) of random bytes, or of one `value`; `sliced`, with gaps between columns."""

    shape: tuple[int, int, int, int]
    dtype: torch.dtype
    layout: torch.memory_format
    value: int | None = None
    sliced: bool = False
    mean: tuple[float, ...] = field(default=IMAGENET_MEAN)
    std: tuple[float, ...] = field(default=IMAGENET_STD)

    @property
    def name(self) -> str:
        size = "x".join(map(str, self.shape))
        extras = ("" if self.value is None else f"-all{self.value}") + ("-sliced" if self.sliced else "")
        return f"{size}-{str(self.dtype).removeprefix('torch.')}-{LAYOUTS[self.layout]}{extras}"

    def inputs(self) -> tuple[Tensor, tuple[float, ...], tuple[float, ...]]:
        count, height, width, channels = self.shape
        shape = (count, height, width * 2 if self.sliced else width, channels)
        if self.value is None:
            images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        else:
            images = torch.full(shape, self.value, dtype=torch.uint8)
        return images[:, :, ::2] if self.sliced else images, self.mean[:channels], self.std[:channels]

    def output(self) -> Tensor:
        count, height, width, channels = self.shape
        return torch.empty(count, channels, height, width, dtype=self.dtype, memory_format=self.layout)


_SHAPES = (
    (1, 1, 1, 3),  # less than a thread's share
    (2, 1, 512, 1),  # whole blocks
    (2, 32, 32, 3),  # whole blocks of pixels
    (3, 37, 41, 3),  # odd everywhere: tails, and images that begin unaligned
    (2, 19, 27, 1),
)

CASES = (
    *(NormalizeCase(shape, dtype, layout) for shape, dtype, layout in product(_SHAPES, DTYPES, LAYOUTS)),
    *(NormalizeCase((0, 8, 8, 3), torch.float32, layout) for layout in LAYOUTS),
    *(NormalizeCase((2, 5, 7, 3), torch.float32, layout, value=v) for v, layout in product((0, 255), LAYOUTS)),
    *(NormalizeCase((2, 9, 11, 3), torch.float16, layout, sliced=True) for layout in LAYOUTS),
)


def _budget(dtype: torch.dtype, layout: torch.memory_format, registers: int, shared: int) -> Budget:
    return Budget(NormalizeCase((1, 224, 224, 3), dtype, layout), registers, shared, store=128)


# 64 registers let a multiprocessor hold half its threads, which is plenty to keep memory busy; these stay below.
BUDGETS = tuple(_budget(dtype, layout, registers=48, shared=0) for dtype, layout in product(DTYPES, LAYOUTS))
