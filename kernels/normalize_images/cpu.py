"""The path for CPU tensors: the pictures as long rows, so that no operation walks over 3 channels. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .affine import affine

_SCRATCH = 1 << 20  # values: 4 MB of fp32, which the allocator hands out again and the caches mostly hold


def normalize_images(images: Tensor, mean: Sequence[float], std: Sequence[float], *, out: Tensor) -> None:
    """Write (images / 255 - mean) / std, computed in fp32, into `out`."""
    count, height, width, channels = images.shape
    row = width * channels
    if out.numel() == 0:
        return
    scale, shift = (torch.tensor(values, dtype=torch.float32).repeat(width) for values in affine(mean, std))
    lines = min(max(_SCRATCH // row, 1), height)
    pictures = min(max(_SCRATCH // (row * height), 1), count)
    wide = torch.empty(pictures * lines, row, dtype=torch.float32)
    narrow = wide if out.dtype == torch.float32 else torch.empty_like(wide, dtype=out.dtype)
    targets = out.permute(0, 2, 3, 1)
    for first in range(0, count, pictures):
        for top in range(0, height, lines):
            part = (slice(first, first + pictures), slice(top, top + lines))
            _fill(targets[part], images[part].reshape(-1, row), scale, shift, wide, narrow)


def _fill(target: Tensor, rows: Tensor, scale: Tensor, shift: Tensor, wide: Tensor, narrow: Tensor) -> None:
    """Compute `rows` in `wide`, cast them in `narrow`, and lay them into `target`, going past what isn't needed."""
    direct = target.is_contiguous()
    result = target.view(-1, rows.shape[1]) if direct else narrow[: len(rows)]
    values = wide[: len(rows)].copy_(rows)
    if result.dtype == torch.float32:
        torch.addcmul(shift, values, scale, out=result)
    else:
        result.copy_(torch.addcmul(shift, values, scale, out=values))
    if not direct:
        target.copy_(result.view(target.shape))
