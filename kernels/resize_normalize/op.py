"""resize_normalize, the function to call, and RESIZE_NORMALIZE, its entry in the catalog. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..normalize_images.cases import DTYPES, IMAGENET_MEAN, IMAGENET_STD, LAYOUTS
from ..op import Op, Tolerance
from . import cpu, reference
from .cases import BUDGETS, CASES
from .frame import Fit, Frame, one_size, packed
from .taps import FILTERS


def _fused(
    pixels: Tensor, frames: tuple[Frame, ...], name: str, fill: int, mean: Sequence[float], std: Sequence[float], *,
    out: Tensor,
) -> None:  # fmt: skip
    from . import fused  # triton isn't everywhere, and takes a while to import

    fused.resize_normalize(pixels, frames, name, fill, mean, std, out=out)


def _supports(
    pixels: Tensor, frames: tuple[Frame, ...], name: str, fill: int, mean: Sequence[float], std: Sequence[float], *,
    out: Tensor,
) -> bool:  # fmt: skip
    del frames, name, fill, mean, std
    return pixels.device == out.device and any(out.is_contiguous(memory_format=layout) for layout in LAYOUTS)


_LEVEL = 1 / (255 * min(IMAGENET_STD))

RESIZE_NORMALIZE = Op(
    name="resize_normalize",
    reference=reference.resize_normalize,
    fused=_fused,
    cpu=cpu.resize_normalize,
    supports=_supports,
    tolerance={  # not one level is off; the narrow types round a value next to a tie either way
        torch.float32: Tolerance(absolute=1e-6, relative=0.0),
        torch.float16: Tolerance(absolute=1e-6, relative=2**-10),
        torch.bfloat16: Tolerance(absolute=1e-6, relative=2**-7),
    },
    cpu_tolerance={  # a level, after which both round
        torch.float32: Tolerance(absolute=_LEVEL + 1e-6, relative=0.0),
        torch.float16: Tolerance(absolute=_LEVEL + 1e-6, relative=2**-9),
        torch.bfloat16: Tolerance(absolute=_LEVEL + 1e-6, relative=2**-6),
    },
    cases=CASES,
    budgets=BUDGETS,
)


def resize_normalize(
    pictures: Sequence[Tensor],
    fit: Fit,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    *,
    filter: str = "bilinear",  # noqa: A002  that is what it is
    fill: int = 0,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Return pictures of any sizes, uint8 [H, W, C] with C 1 or 3 on one device, as a batch `dtype` [N, C, H, W] there.

    They are resized as Pillow does: to the last bit on a GPU, within a level on a CPU. `filter` is bilinear or bicubic;
    what `fit` pads is of level `fill`. Raises TypeError for another type, and ValueError for pictures that differ in
    their channels or, after `fit`, in size; for another filter, level or layout; and for a std of 0.
    """
    _check(pictures, mean, std, filter, fill, dtype, memory_format)
    channels = len(mean)
    frames = [fit.frame((picture.shape[0], picture.shape[1])) for picture in pictures]
    shape = (len(pictures), channels, *one_size(frames, fit))
    device = pictures[0].device if pictures else torch.device("cpu")
    out = torch.empty(shape, dtype=dtype, device=device, memory_format=memory_format)
    if device.type == "cpu":  # picture by picture, where they lie
        for number, (picture, frame) in enumerate(zip(pictures, frames, strict=True)):
            RESIZE_NORMALIZE(picture.reshape(-1), (frame,), filter, fill, mean, std, out=out[number : number + 1])
        return out
    pixels = torch.cat([picture.reshape(-1) for picture in pictures])
    return RESIZE_NORMALIZE(pixels, packed(frames, channels), filter, fill, mean, std, out=out)


def _check(
    pictures: Sequence[Tensor], mean: Sequence[float], std: Sequence[float], filter: str, fill: int,  # noqa: A002
    dtype: torch.dtype, memory_format: torch.memory_format,
) -> None:  # fmt: skip
    channels = len(mean)
    for picture in pictures:
        if picture.dtype != torch.uint8:
            raise TypeError(f"expected uint8 pictures, got {picture.dtype}")
        if picture.dim() != 3 or picture.shape[2] != channels or 0 in picture.shape:
            raise ValueError(f"{channels} means need pictures of shape [H, W, {channels}], got {list(picture.shape)}")
    if dtype not in DTYPES:
        raise TypeError(f"expected one of {DTYPES} to turn the pictures into, got {dtype}")
    if channels not in (1, 3) or len(std) != channels or 0 in std:
        raise ValueError(f"expected 1 or 3 means and as many stds, none of them 0, got {tuple(mean)} and {tuple(std)}")
    if filter not in FILTERS or not 0 <= fill <= 255:
        raise ValueError(f"expected a filter of {tuple(FILTERS)} and a level from 0 to 255, got {filter!r} and {fill}")
    if memory_format not in LAYOUTS:
        raise ValueError(f"expected one of the layouts {tuple(LAYOUTS)}, got {memory_format}")
