"""FusedNormalize: the ToTensor and Normalize at the end of a torchvision Compose, done for a whole batch by one kernel.

What goes in and comes out is as before, to float rounding. Imports torch and our kernels; torchvision is there if a
Compose is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...kernels.normalize_images import normalize_images

_CHANNELS = {"L": 1, "RGB": 3}


@dataclass(frozen=True, slots=True)
class FusedNormalize:
    """`head` is what comes before: the steps that make a picture of a picture."""

    head: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, processing: Any) -> FusedNormalize | None:
        """For a Compose that ends in ToTensor and Normalize, themselves and no subclass of theirs; else None."""
        transforms = sys.modules.get("torchvision.transforms")
        if transforms is None or type(processing) is not transforms.Compose or len(processing.transforms) < 2:
            return None
        *head, scale, normalize = processing.transforms
        if type(scale) is not transforms.ToTensor or type(normalize) is not transforms.Normalize:
            return None
        mean, std = (tuple(map(float, values)) for values in (normalize.mean, normalize.std))
        if len(mean) != len(std) or len(mean) not in _CHANNELS.values() or 0.0 in std:
            return None
        return cls(transforms.Compose(head), mean, std)

    def fits(self, pictures: Sequence[Image.Image]) -> bool:
        """Whether every picture has as many channels as there are means; decided from the headers alone."""
        return all(_CHANNELS.get(picture.mode) == len(self.mean) for picture in pictures)

    def batch(self, pictures: Sequence[Image.Image], device: torch.device) -> torch.Tensor | None:
        """float32 [N, C, H, W] on `device`; None if `head` makes anything but pictures of one size."""
        ready = [self.head(picture) for picture in pictures]
        if not all(isinstance(picture, Image.Image) for picture in ready) or not self.fits(ready):
            return None
        if len({picture.size for picture in ready}) != 1:
            return None
        pixels = np.stack([np.asarray(picture) for picture in ready])
        if pixels.ndim == 3:
            pixels = pixels[..., None]
        return normalize_images(torch.from_numpy(pixels).to(device), self.mean, self.std)
