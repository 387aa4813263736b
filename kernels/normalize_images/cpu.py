"""The version for CPU tensors: pictures as long rows, so that no operation walks over 3 channels. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .affine import affine

_SCRATCH = 1 << 20  # values: 4 MB of fp32, which the allocator hands out again and the caches mostly hold
_SHORT = 1 << 12  # values: below this a whole picture makes a better row than one of its lines


def normalize_images(images: Tensor, mean: Sequence[float], std: Sequence[float], *, out: Tensor) -> None:
    """Write (images / 255 - mean) / std, computed in fp32, into `out`."""
    scales, shifts = affine(mean, std)
    if images.shape[3] == 1:
        out.copy_(images.to(torch.float32).mul_(scales[0]).add_(shifts[0]).permute(0, 3, 1, 2))
    elif out.numel():
        _colours(images, torch.tensor([scales, shifts], dtype=torch.float32), out)


def _colours(images: Tensor, factors: Tensor, out: Tensor) -> None:
    """Do the same for three channels; `factors` are the scales and the shifts."""
    count, height, width, channels = images.shape
    line = width * channels
    lines = min(max(_SCRATCH // line, 1), height)
    pictures = min(max(_SCRATCH // (line * height), 1), count)
    row = line * height if lines == height and line * height <= _SHORT else line
    scale, shift = factors[:, None].expand(2, row // channels, channels).contiguous().view(2, row)
    wide = torch.empty(pictures * lines * line, dtype=torch.float32)
    narrow = wide if out.dtype == torch.float32 else torch.empty_like(wide, dtype=out.dtype)
    targets = out.permute(0, 2, 3, 1)
    for first in range(0, count, pictures):
        for top in range(0, height, lines):
            part = (slice(first, first + pictures), slice(top, top + lines))
            _fill(targets[part], images[part].reshape(-1, row), scale, shift, wide, narrow)


def _fill(target: Tensor, rows: Tensor, scale: Tensor, shift: Tensor, wide: Tensor, narrow: Tensor) -> None:
    """Compute `rows` in `wide`, cast them in `narrow`, and copy them to `target`, with no step that isn't needed."""
    direct = target.is_contiguous()
    result = target.view(rows.shape) if direct else narrow[: rows.numel()].view(rows.shape)
    values = wide[: rows.numel()].view(rows.shape).copy_(rows)
    if result.dtype == torch.float32:
        torch.addcmul(shift, values, scale, out=result)
    else:
        result.copy_(torch.addcmul(shift, values, scale, out=values))
    if not direct:
        target.copy_(result.view(target.shape))
