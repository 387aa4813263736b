"""The Triton kernel, one launch for a ragged batch. Imports triton, so a launch is what imports this module."""

# A kernel's arguments are triton's: an annotation says how one is passed, and `num_warps` is nowhere declared.
# ruff: noqa: ANN001, ANN201, ANN202, N803
# pyright: reportInvalidTypeForm=false, reportCallIssue=false, reportAssignmentType=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch import tile
from ..normalize_images.affine import affine
from .frame import Frame
from .taps import BITS, FIELDS, tables

_BITS = tl.constexpr(BITS)
_HALF = tl.constexpr(1 << (BITS - 1))
_FIELDS = tl.constexpr(FIELDS)


@triton.jit
def _level(total):
    return tl.minimum(tl.maximum(total >> _BITS, 0), 255)


@triton.jit
def _two_passes(
    pixels, first_at, first_step, first_weights, first_stride, first_taps,
    then_at, then_step, then_weights, then_stride, then_taps,
    SHAPE: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Return the totals of the second pass over levels of the first, for three channels.

    Rows come as [rows, 1], columns as [1, columns].
    """
    a = tl.full(SHAPE, _HALF, tl.int32)
    b = tl.full(SHAPE, _HALF, tl.int32)
    c = tl.full(SHAPE, _HALF, tl.int32)
    for k in range(then_taps):
        line = pixels + (then_at + k * then_step)
        x = tl.full(SHAPE, _HALF, tl.int32)
        y = tl.full(SHAPE, _HALF, tl.int32)
        z = tl.full(SHAPE, _HALF, tl.int32)
        for j in range(first_taps):
            weight = tl.load(first_weights + j * first_stride)
            place = line + (first_at + j * first_step)
            x += weight * tl.load(place).to(tl.int32)
            if CHANNELS == 3:
                y += weight * tl.load(place + 1).to(tl.int32)
                z += weight * tl.load(place + 2).to(tl.int32)
        weight = tl.load(then_weights + k * then_stride)
        a += weight * _level(x)
        if CHANNELS == 3:
            b += weight * _level(y)
            c += weight * _level(z)
    return a, b, c


# `fill` isn't specialised on, and neither are the pointers' alignments: pictures begin at any byte.
@triton.jit(do_not_specialize=["fill"], do_not_specialize_on_alignment=["pixels", "frames", "taps"])
def resized(
    pixels, frames, taps, out, fill, scale0, scale1, scale2, shift0, shift1, shift2,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, INTERLEAVED: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Resize and normalise: a program makes ROWS x COLUMNS of a picture's HEIGHT x WIDTH pixels, as `taps` says."""
    tiles_x: tl.constexpr = (WIDTH + COLUMNS - 1) // COLUMNS
    tiles: tl.constexpr = tiles_x * ((HEIGHT + ROWS - 1) // ROWS)
    image = tl.program_id(0).to(tl.int64) // tiles
    at = tl.program_id(0) % tiles
    y = ((at // tiles_x) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    x = ((at % tiles_x) * COLUMNS + tl.arange(0, COLUMNS)).to(tl.int64)[None, :]
    last_y = tl.minimum(y, HEIGHT - 1)  # places past the end do the last one's work, and are not stored
    last_x = tl.minimum(x, WIDTH - 1)

    frame = frames + image * _FIELDS
    source = pixels + tl.load(frame)
    pitch = tl.load(frame + 1)
    taps_y = tl.load(frame + 2).to(tl.int32)
    taps_x = tl.load(frame + 3).to(tl.int32)
    table_y = taps + tl.load(frame + 4)
    table_x = taps + tl.load(frame + 5)
    start_y = tl.load(table_y + last_y)
    start_x = tl.load(table_x + last_x)
    at_y = tl.maximum(start_y, 0).to(tl.int64) * pitch
    at_x = tl.maximum(start_x, 0).to(tl.int64) * CHANNELS
    step_x = tl.full([], CHANNELS, tl.int64)
    stride_y = tl.full([], HEIGHT, tl.int64)
    stride_x = tl.full([], WIDTH, tl.int64)
    weights_y = table_y + HEIGHT + last_y
    weights_x = table_x + WIDTH + last_x
    if tl.load(frame + 6) == 0:
        a, b, c = _two_passes(
            source, at_x, step_x, weights_x, stride_x, taps_x, at_y, pitch, weights_y, stride_y, taps_y,
            [ROWS, COLUMNS], CHANNELS,
        )  # fmt: skip
    else:
        a, b, c = _two_passes(
            source, at_y, pitch, weights_y, stride_y, taps_y, at_x, step_x, weights_x, stride_x, taps_x,
            [ROWS, COLUMNS], CHANNELS,
        )  # fmt: skip

    inside = (start_y >= 0) & (start_x >= 0)
    written = (y < HEIGHT) & (x < WIDTH)
    kind = out.dtype.element_ty
    pixel: tl.constexpr = CHANNELS if INTERLEAVED else 1
    plane: tl.constexpr = 1 if INTERLEAVED else HEIGHT * WIDTH
    target = out + image * (HEIGHT * WIDTH * CHANNELS) + (y * WIDTH + x) * pixel
    first = tl.where(inside, _level(a), fill).to(tl.float32) * scale0 + shift0
    tl.store(target, first.to(kind), mask=written)
    if CHANNELS == 3:
        second = tl.where(inside, _level(b), fill).to(tl.float32) * scale1 + shift1
        third = tl.where(inside, _level(c), fill).to(tl.float32) * scale2 + shift2
        tl.store(target + plane, second.to(kind), mask=written)
        tl.store(target + 2 * plane, third.to(kind), mask=written)


def resize_normalize(
    pixels: Tensor, frames: tuple[Frame, ...], name: str, fill: int, mean: Sequence[float], std: Sequence[float], *,
    out: Tensor,
) -> None:  # fmt: skip
    """Write (picture / 255 - mean) / std, computed in fp32, into `out`; padding is `fill` before that."""
    if out.numel():
        described, taps = uploaded(frames, out.shape[1], name, out.device)
        launch(pixels, described, taps, fill, mean, std, out=out)


def uploaded(frames: tuple[Frame, ...], channels: int, name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the tables of a batch, sent to `device` in one copy."""
    described, taps = tables(frames, channels, name)
    both = np.concatenate([described.reshape(-1).view(np.int32), taps])
    whole = torch.from_numpy(both).to(device)
    return whole[: described.size * 2].view(torch.int64), whole[described.size * 2 :]


def launch(
    pixels: Tensor, described: Tensor, taps: Tensor, fill: int, mean: Sequence[float], std: Sequence[float], *,
    out: Tensor,
) -> None:  # fmt: skip
    """Launch the kernel on tensors that are on the device already; nothing here waits for it, or for the host."""
    count, channels, height, width = out.shape
    scales, shifts = affine(mean, std)
    if channels == 1:
        scales, shifts = scales * 3, shifts * 3
    tiling = tile(height, width)
    interleaved = channels > 1 and not out.is_contiguous()
    resized[(tiling.programs * count,)](
        pixels, described, taps, out, fill, *scales, *shifts, HEIGHT=height, WIDTH=width, CHANNELS=channels,
        INTERLEAVED=interleaved, ROWS=tiling.rows, COLUMNS=tiling.columns, num_warps=tiling.warps,
    )  # fmt: skip
