"""The reference: softmax, then a stable sort, so that of equal scores the first class comes first. Imports torch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def softmax_topk(scores: Tensor, *, out: Tensor) -> None:
    """Write the probabilities of each row's likeliest classes into out[0], and the classes into out[1]."""
    ordered, classes = scores.to(out.dtype).sort(dim=1, descending=True, stable=True)
    count = out.shape[2]
    out[0].copy_(functional.softmax(ordered, dim=1)[:, :count])
    out[1].copy_(classes[:, :count])
