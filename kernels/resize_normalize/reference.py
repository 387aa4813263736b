"""The reference: plain PyTorch in whole numbers, pass by pass as Pillow resizes, then as torchvision normalises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .frame import Frame
from .taps import BITS, OUTSIDE, Taps, both


def resize_normalize(
    pixels: Tensor, frames: tuple[Frame, ...], name: str, fill: int, mean: Sequence[float], std: Sequence[float], *,
    out: Tensor,
) -> None:  # fmt: skip
    """Write (picture / 255 - mean) / std, computed in fp32, into `out`; padding is `fill` before that."""
    channels = out.shape[1]
    means = torch.tensor(mean, dtype=torch.float32, device=out.device).view(-1, 1, 1)
    stds = torch.tensor(std, dtype=torch.float32, device=out.device).view(-1, 1, 1)
    for frame, target in zip(frames, out, strict=True):
        length = frame.stored[0] * frame.stored[1] * channels
        picture = pixels[frame.offset : frame.offset + length].view(*frame.stored, channels)
        resized = resize(picture, frame, name, fill)
        target.copy_((resized.permute(2, 0, 1).to(torch.float32) / 255 - means) / stds)


def resize(picture: Tensor, frame: Frame, name: str, fill: int) -> Tensor:
    """Return the picture, or its stored part, resized as `frame` says; its levels are whole numbers in int64."""
    levels = picture.to(torch.int64)
    taps = both(frame, name)
    for dim in (0, 1) if frame.vertical_first else (1, 0):
        levels = _pass(levels, taps[dim], dim)
    rows, columns = (torch.from_numpy(each.starts != OUTSIDE).to(levels.device) for each in taps)
    return torch.where((rows[:, None] & columns)[..., None], levels, fill)


def _pass(levels: Tensor, taps: Taps, dim: int) -> Tensor:
    starts = torch.from_numpy(taps.starts).to(levels.device).to(torch.int64).clamp(min=0)
    weights = torch.from_numpy(taps.weights).to(levels.device).to(torch.int64)
    shape = [1, 1, 1]
    shape[dim] = -1
    total = torch.full_like(levels.index_select(dim, starts), 1 << (BITS - 1))
    for tap in range(len(weights)):
        total += levels.index_select(dim, starts + tap) * weights[tap].view(shape)
    return (total >> BITS).clamp(0, 255)
