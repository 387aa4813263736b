"""The Triton kernel, a program a row, and its launch. Imports triton, so a launch is what imports this."""

# A kernel's arguments are triton's: an annotation says how one is passed, and `num_warps` is nowhere declared.
# ruff: noqa: ANN001, ANN201, ANN202, N803
# pyright: reportInvalidTypeForm=false, reportCallIssue=false, reportAssignmentType=false, reportArgumentType=false, reportOperatorIssue=false

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..launch import a_row_a_program

_LOWEST = tl.constexpr(-(2**63))


@triton.jit
def _sortable(values, places):
    """Return keys that sort as the values do, and for equal values by place, the first place highest."""
    bits = tl.where(values == 0, 0.0, values).to(tl.int32, bitcast=True)  # 0 and -0 are equal, their bits aren't
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.to(tl.int64) << 32) | (0x7FFFFFFF - places).to(tl.int64)


# Neither the batch's size nor the number of classes asked for is specialised on: both change between requests.
@triton.jit(do_not_specialize=["count", "total"])
def top(scores, out, stride: tl.int64, count: tl.int64, total: tl.int64, CLASSES: tl.constexpr, BLOCK: tl.constexpr):
    """Store a row's `count` highest of CLASSES scores: probabilities first, and the classes `total` values behind."""
    row = tl.program_id(0).to(tl.int64)
    places = tl.arange(0, BLOCK)
    inside = places < CLASSES
    values = tl.load(scores + row * stride + places.to(tl.int64), mask=inside, other=float("-inf")).to(tl.float32)
    highest = tl.max(values, axis=0)
    whole = tl.sum(tl.exp(values - highest), axis=0)
    keys = tl.where(inside, _sortable(values, places), _LOWEST)
    target = out + row * count
    at = tl.full([], 0, tl.int64)
    for _ in range(count):
        found = tl.max(keys, axis=0)
        place = 0x7FFFFFFF - (found & 0x7FFFFFFF).to(tl.int32)
        value = tl.sum(tl.where(places == place, values, 0.0), axis=0)
        tl.store(target + at, tl.exp(value - highest) / whole)
        tl.store(target + (at + total), place.to(tl.float32))
        keys = tl.where(keys == found, _LOWEST, keys)
        at += 1


def softmax_topk(scores: Tensor, *, out: Tensor) -> None:
    """Write the probabilities of each row's likeliest classes into out[0], and the classes into out[1]."""
    _, rows, count = out.shape
    if rows == 0 or count == 0:
        return
    classes = scores.shape[1]
    launch = a_row_a_program(classes)
    top[(rows,)](
        scores, out, scores.stride(0), count, rows * count, CLASSES=classes, BLOCK=launch.block, num_warps=launch.warps
    )
