"""Large JPEGs decoded at a fraction of their size, where the pipeline shrinks them anyway and the yaml allows it.

The pixels are near those of the pipeline, not equal: how far off they are is measured on made pictures, and told.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image

from ....kernels.jpeg import Source
from ....kernels.resize_normalize.frame import Fit
from .pictures import Picture

_TIMES = (2, 3, 5)  # how much larger than the pipeline's result the probes are
_MOST_PIXELS = 1 << 24  # of a probe: larger ones are left out
_GRAIN = 4.0  # levels of 255


def scaled_source(fit: Fit) -> Callable[[Picture], Source]:
    """Return the function that decodes a picture at the smallest size that is not below what it is resized to."""

    def source(picture: Picture) -> torch.Tensor:
        image = picture.image
        return picture.scaled(fit.frame((image.height, image.width)).resized)

    return source


def probes(fit: Fit) -> Iterator[bytes]:
    """Yield JPEGs that the pipeline shrinks twice and more: soft shapes with a sensor's grain, as photos are."""
    for times in _TIMES:
        height, width = (times * side for side in fit.frame((300, 400)).resized)
        if height * width <= _MOST_PIXELS:
            yield _soft(height, width)


def _soft(height: int, width: int) -> bytes:
    draw = np.random.default_rng(width)
    coarse = draw.integers(0, 256, (height // 32 + 2, width // 32 + 2, 3), dtype=np.uint8)
    shapes = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    levels = shapes + draw.normal(0, _GRAIN, shapes.shape).astype(np.float32)
    made = io.BytesIO()
    Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(made, "JPEG", quality=90)
    return made.getvalue()
