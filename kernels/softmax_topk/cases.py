"""The cases that the versions are compared on: rows of all lengths, ties, infinite scores, all types. Imports torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..normalize_images.cases import DTYPES
from ..op import Budget

LONGEST = 8192  # classes that a program can hold
_INFINITE = float("inf")


@dataclass(frozen=True)
class TopCase:
    """A batch of `rows` of `classes` scores, of which `count` are asked for; rounded to `levels`, many are equal."""

    rows: int
    classes: int
    count: int
    scores: torch.dtype = torch.float32
    levels: int = 0
    hole: bool = False
    """Whether all but one score are -inf, as a mask leaves them."""
    sliced: bool = False

    dtype = torch.float32

    @property
    def name(self) -> str:
        extras = (f"-{self.levels}levels" if self.levels else "") + "-hole" * self.hole + "-sliced" * self.sliced
        return f"{self.rows}x{self.classes}-top{self.count}-{str(self.scores).removeprefix('torch.')}{extras}"

    def inputs(self) -> tuple[Tensor]:
        generator = torch.Generator().manual_seed(self.rows + self.classes)
        wide = torch.randn(self.rows, self.classes + 3 * self.sliced, generator=generator) * 4
        if self.levels:
            wide = (wide.clamp(-4, 4) * self.levels / 8).round()
        scores = wide.to(self.scores)[:, : self.classes]
        if self.hole and self.classes:
            scores[:, self.classes // 2 + 1 :] = -_INFINITE
            scores[:, : self.classes // 2] = -_INFINITE
        return (scores,)

    def output(self) -> Tensor:
        return torch.empty(2, self.rows, self.count, dtype=torch.float32)


CASES = (
    *(TopCase(3, 1000, 5, dtype) for dtype in DTYPES),
    *(TopCase(4, 77, 9, dtype, levels=3) for dtype in DTYPES),
    TopCase(1, 1, 1),
    TopCase(2, 2, 2),
    TopCase(5, 33, 33, levels=2),
    TopCase(2, 40, 4, hole=True),
    TopCase(3, 100, 5, sliced=True),
    TopCase(2, LONGEST, 5, torch.float16),
    TopCase(0, 10, 5),
    TopCase(3, 10, 0),
)

# Two values of 32 bits a class are what is stored, by one thread.
BUDGETS = (
    *(Budget(TopCase(32, 1000, 5, dtype), registers=64, shared=128, store=32) for dtype in DTYPES),
    Budget(TopCase(32, LONGEST, 5, torch.float16), registers=128, shared=256, store=32),
)
