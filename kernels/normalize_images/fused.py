"""The Triton kernels, one pass over memory each, and their launch. Imports triton, so a launch is what imports this."""

# A kernel's arguments are triton's: an annotation says how one is passed, and `num_warps` is nowhere declared.
# ruff: noqa: ANN001, ANN201, ANN202, N803
# pyright: reportInvalidTypeForm=false, reportCallIssue=false

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch import one_store_a_thread
from .affine import affine


@triton.jit
def _scaled(values, channel, scale0, scale1, scale2, shift0, shift1, shift2):
    """Return values * scale + shift, by channel."""
    scale = tl.where(channel == 0, scale0, tl.where(channel == 1, scale1, scale2))
    shift = tl.where(channel == 0, shift0, tl.where(channel == 1, shift1, shift2))
    return values.to(tl.float32) * scale + shift


# `total` isn't specialised on: a batch of another size must not compile again in the middle of serving.
@triton.jit(do_not_specialize=["total"])
def interleaved(
    images, out, total: tl.int64, scale0, scale1, scale2, shift0, shift1, shift2,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Normalise NHWC to NHWC: a stream of `total` values, each of channel (its place modulo CHANNELS)."""
    first = tl.program_id(0).to(tl.int64) * BLOCK
    lane = tl.arange(0, BLOCK)
    at = first + lane
    channel = ((first % CHANNELS).to(tl.int32) + lane) % CHANNELS
    if first + BLOCK <= total:  # no mask, so wide loads and stores whether or not `total` is a multiple of their width
        values = tl.load(images + at)
        result = _scaled(values, channel, scale0, scale1, scale2, shift0, shift1, shift2)
        tl.store(out + at, result.to(out.dtype.element_ty))
    else:
        inside = at < total
        values = tl.load(images + at, mask=inside, other=0)
        result = _scaled(values, channel, scale0, scale1, scale2, shift0, shift1, shift2)
        tl.store(out + at, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def planar(
    images, out, pixels: tl.int64, scale0, scale1, scale2, shift0, shift1, shift2, BLOCK: tl.constexpr
):  # fmt: skip
    """Normalise NHWC to NCHW, 3 channels: a program takes BLOCK of an image's `pixels` and writes three planes."""
    tiles = tl.cdiv(pixels, BLOCK)
    image = tl.program_id(0).to(tl.int64) // tiles
    at = (tl.program_id(0) % tiles) * BLOCK + tl.arange(0, BLOCK)
    inside = at < pixels
    source = images + image * pixels * 3 + at * 3
    target = out + image * pixels * 3 + at
    first = tl.load(source, mask=inside, other=0).to(tl.float32) * scale0 + shift0
    second = tl.load(source + 1, mask=inside, other=0).to(tl.float32) * scale1 + shift1
    third = tl.load(source + 2, mask=inside, other=0).to(tl.float32) * scale2 + shift2
    tl.store(target, first.to(out.dtype.element_ty), mask=inside)
    tl.store(target + pixels, second.to(out.dtype.element_ty), mask=inside)
    tl.store(target + 2 * pixels, third.to(out.dtype.element_ty), mask=inside)


def normalize_images(images: Tensor, mean: Sequence[float], std: Sequence[float], *, out: Tensor) -> None:
    """Write (images / 255 - mean) / std, computed in fp32, into `out`, which is contiguous or channels_last."""
    if out.numel() == 0:
        return
    count, height, width, channels = images.shape
    scales, shifts = affine(mean, std)
    if channels == 1:
        scales, shifts = scales * 3, shifts * 3
    images = images.contiguous()
    launch = one_store_a_thread(out.itemsize)
    if channels == 1 or out.is_contiguous(memory_format=torch.channels_last):
        grid = (launch.programs(out.numel()),)
        interleaved[grid](
            images, out, out.numel(), *scales, *shifts, CHANNELS=channels, BLOCK=launch.block, num_warps=launch.warps
        )
    else:
        pixels = height * width
        grid = (launch.programs(pixels) * count,)
        planar[grid](images, out, pixels, *scales, *shifts, BLOCK=launch.block, num_warps=launch.warps)
