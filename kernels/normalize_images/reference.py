"""The reference: plain PyTorch, step by step as torchvision's `ToTensor` and `Normalize`. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def normalize_images(images: Tensor, mean: Sequence[float], std: Sequence[float], *, out: Tensor) -> None:
    """Write (images / 255 - mean) / std, computed in fp32, into `out`."""
    values = images.permute(0, 3, 1, 2).to(torch.float32) / 255
    means = torch.tensor(mean, dtype=torch.float32, device=images.device).view(-1, 1, 1)
    stds = torch.tensor(std, dtype=torch.float32, device=images.device).view(-1, 1, 1)
    out.copy_((values - means) / stds)
