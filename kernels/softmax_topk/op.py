"""softmax_topk, the function to call, and SOFTMAX_TOPK, its entry in the catalog. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor

from ..normalize_images.cases import DTYPES
from ..op import Op, Tolerance
from . import cpu, reference
from .cases import BUDGETS, CASES, LONGEST


def _fused(scores: Tensor, *, out: Tensor) -> None:
    from . import fused  # triton isn't everywhere, and takes a while to import

    fused.softmax_topk(scores, out=out)


def _supports(scores: Tensor, *, out: Tensor) -> bool:
    known = scores.dtype in DTYPES and out.dtype == torch.float32
    return scores.device == out.device and known and scores.shape[1] <= LONGEST and scores.stride(1) == 1


SOFTMAX_TOPK = Op(
    name="softmax_topk",
    reference=reference.softmax_topk,
    fused=_fused,
    cpu=cpu.softmax_topk,
    supports=_supports,
    tolerance={torch.float32: Tolerance(absolute=1e-6, relative=0.0)},  # a class is right, or 1 off at least
    cases=CASES,
    budgets=BUDGETS,
)


def softmax_topk(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the probabilities of the `count` likeliest classes of each row of `scores` [N, C], and these classes.

    Both are [N, count], likeliest first, on the CPU: they come from a GPU in one download. Of equal scores the first
    class comes first.
    Computed in fp32, or fp64 if the scores are. A row with a NaN, or of nothing but -inf, has NaN for probabilities.
    Raises ValueError for scores of another shape, and for a count below 0 or over C.
    """
    if scores.dim() != 2 or not 0 <= count <= scores.shape[1]:
        raise ValueError(f"expected scores of shape [N, C] and a count of 0 to C, got {list(scores.shape)} and {count}")
    kind = torch.float64 if scores.dtype == torch.float64 else torch.float32
    out = torch.empty(2, scores.shape[0], count, dtype=kind, device=scores.device)
    probabilities, classes = SOFTMAX_TOPK(scores, out=out).cpu()
    return probabilities, classes.to(torch.int64)
