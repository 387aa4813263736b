"""The version for CPU tensors: PyTorch's resize of bytes, a pass a side, then one multiply-add. Imports torch and PIL.

Bilinear is within one level of the reference (one value in 10^8 is two off), at a fifth of the time Pillow takes.
PyTorch's bicubic is two off a thousand times as often, so that one is Pillow's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ..normalize_images.affine import affine
from ..normalize_images.cpu import normalize_images
from . import reference
from .frame import Frame, Size

_LARGEST = 1 << 26  # pixels: a strip of 1 x 2000, its shorter side made 256, would be 131 million


def resize_normalize(
    pixels: Tensor, frames: tuple[Frame, ...], name: str, fill: int, mean: Sequence[float], std: Sequence[float], *,
    out: Tensor,
) -> None:  # fmt: skip
    """Write (picture / 255 - mean) / std, computed in fp32, into `out`; padding is `fill` before that."""
    if any(frame.part is not None or frame.resized[0] * frame.resized[1] > _LARGEST for frame in frames):
        # PyTorch's and Pillow's resize take whole pictures, and make whole ones, whatever is cropped then.
        reference.resize_normalize(pixels, frames, name, fill, mean, std, out=out)
        return
    channels = out.shape[1]
    for number, frame in enumerate(frames):
        length = frame.size[0] * frame.size[1] * channels
        picture = pixels[frame.offset : frame.offset + length].view(*frame.size, channels)
        shown = cropped(resized(picture, frame, name), frame, fill)
        if shown.stride(2) > 1:
            _normalize_planes(shown.permute(2, 0, 1), mean, std, out[number])
        else:
            normalize_images(shown[None], mean, std, out=out[number : number + 1])


def _normalize_planes(planes: Tensor, mean: Sequence[float], std: Sequence[float], target: Tensor) -> None:
    """Normalise what PyTorch's resize leaves, planes: rows of one channel need no shuffle and no table of factors."""
    direct = target.dtype == torch.float32 and target.is_contiguous()
    values = target.copy_(planes) if direct else planes.to(torch.float32, memory_format=torch.contiguous_format)
    for plane, scale, shift in zip(values, *affine(mean, std), strict=True):
        plane.mul_(scale).add_(shift)
    if not direct:
        target.copy_(values)


def resized(picture: Tensor, frame: Frame, name: str) -> Tensor:
    """Return the whole picture in its new size."""
    if frame.size == frame.resized:
        return picture
    if name == "bicubic":
        return _by_pillow(picture, frame)
    between = (frame.resized[0], frame.size[1]) if frame.vertical_first else (frame.size[0], frame.resized[1])
    planes = picture.permute(2, 0, 1)[None]
    for size in (between, frame.resized) if frame.vertical_first else (frame.resized,):
        planes = _by_torch(planes, size)
    return planes[0].permute(1, 2, 0)


def _by_torch(planes: Tensor, size: Size) -> Tensor:
    if planes.shape[2:] == size:
        return planes
    return functional.interpolate(planes, size=size, mode="bilinear", antialias=True, align_corners=False)


def _by_pillow(picture: Tensor, frame: Frame) -> Tensor:
    image = Image.fromarray(picture.squeeze(2).numpy())
    passes = [frame.resized]
    if frame.vertical_first:  # in this order, whatever this version of Pillow would take
        passes.insert(0, (frame.resized[0], frame.size[1]))
    for height, width in passes:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).view(*frame.resized, picture.shape[2])


def cropped(picture: Tensor, frame: Frame, fill: int) -> Tensor:
    """Return the wanted part of a resized picture, padded where the picture doesn't reach."""
    starts = [max(corner, 0) for corner in frame.corner]
    ends = [min(at + wanted, side) for at, wanted, side in zip(frame.corner, frame.output, frame.resized, strict=True)]
    part = picture[starts[0] : ends[0], starts[1] : ends[1]]
    if part.shape[:2] == frame.output:
        return part
    padded = picture.new_full((*frame.output, picture.shape[2]), fill)
    top, left = (start - corner for start, corner in zip(starts, frame.corner, strict=True))
    padded[top : top + part.shape[0], left : left + part.shape[1]] = part
    return padded
