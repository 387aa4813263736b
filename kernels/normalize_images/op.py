"""normalize_images, the function to call, and NORMALIZE_IMAGES, its entry in the catalog. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..op import Op, Tolerance
from . import cpu, reference
from .cases import BUDGETS, CASES, DTYPES, IMAGENET_MEAN, IMAGENET_STD, LAYOUTS


def _fused(images: Tensor, mean: Sequence[float], std: Sequence[float], *, out: Tensor) -> None:
    from . import fused  # triton isn't everywhere, and takes a while to import

    fused.normalize_images(images, mean, std, out=out)


def _supports(images: Tensor, mean: Sequence[float], std: Sequence[float], *, out: Tensor) -> bool:
    del mean, std
    return images.device == out.device and any(out.is_contiguous(memory_format=layout) for layout in LAYOUTS)


NORMALIZE_IMAGES = Op(
    name="normalize_images",
    reference=reference.normalize_images,
    fused=_fused,
    cpu=cpu.normalize_images,
    supports=_supports,
    tolerance={  # the narrow types: one unit in the last place, for a value next to a tie may round either way
        torch.float32: Tolerance(absolute=1e-6, relative=0.0),
        torch.float16: Tolerance(absolute=1e-6, relative=2**-10),
        torch.bfloat16: Tolerance(absolute=1e-6, relative=2**-7),
    },
    cases=CASES,
    budgets=BUDGETS,
)


def normalize_images(
    images: Tensor,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    *,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Return (images / 255 - mean) / std by channel: uint8 [N, H, W, C], C 1 or 3, to `dtype` [N, C, H, W].

    It is computed on the images' device in fp32: within 1e-6 of PyTorch's own steps if std is as large as ImageNet's.
    `dtype` is float32, float16 or bfloat16; `memory_format` is torch.contiguous_format or torch.channels_last, which
    costs a GPU least. Raises TypeError for another type and ValueError for another shape, layout, or a std of 0.
    """
    if images.dtype != torch.uint8 or dtype not in DTYPES:
        raise TypeError(f"expected uint8 images and one of {DTYPES} to turn them into, got {images.dtype} and {dtype}")
    if images.dim() != 4 or images.shape[3] not in (1, 3):
        raise ValueError(f"expected images of shape [N, H, W, C] with C 1 or 3, got {list(images.shape)}")
    count, height, width, channels = images.shape
    if len(mean) != channels or len(std) != channels:
        raise ValueError(f"{channels} channels need as many means and stds, got {len(mean)} and {len(std)}")
    if 0 in std:
        raise ValueError(f"a std of 0 can't be divided by, got {tuple(std)}")
    if memory_format not in LAYOUTS:
        raise ValueError(f"expected one of the layouts {tuple(LAYOUTS)}, got {memory_format}")
    shape = (count, channels, height, width)
    out = torch.empty(shape, dtype=dtype, device=images.device, memory_format=memory_format)
    return NORMALIZE_IMAGES(images, mean, std, out=out)
