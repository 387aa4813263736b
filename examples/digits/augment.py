"""Makes training pictures out of a few small ones: the same digit as other hands, pens, scanners and screens would show
it.

Only train.py uses it. Up to the ink it works on whole batches with torch, then picture by picture with Pillow.
"""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from ink import decode
from PIL import Image, ImageFilter

CANVAS = 64  # side of the pictures that the warps work on, pixels


def enlarge(images: np.ndarray, resample: Image.Resampling) -> torch.Tensor:
    """Enlarge 8x8 digits (0 to 1) to [n, 1, CANVAS, CANVAS], with a quarter of the side left free around them."""
    inner = CANVAS * 5 // 8
    margin = (CANVAS - inner) // 2
    out = torch.zeros(len(images), 1, CANVAS, CANVAS)
    for index, image in enumerate(images):
        padded = Image.fromarray(np.pad(image, 1).astype(np.float32))
        scaled = np.asarray(padded.resize((inner, inner), resample))
        out[index, 0, margin : margin + inner, margin : margin + inner] = torch.from_numpy(scaled.copy())
    return out.clamp(0, 1)


def uniform(generator: torch.Generator, count: int, low: float, high: float) -> torch.Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def warp(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Turn, slant, stretch and bend each picture by its own random amount."""
    count = len(images)
    angle = torch.deg2rad(uniform(generator, count, -14, 14))
    slant = uniform(generator, count, -0.45, 0.7)
    wide = torch.exp(uniform(generator, count, -0.65, 0.45))  # the grid's scale is the inverse of the digit's
    tall = torch.exp(uniform(generator, count, -0.15, 0.3))
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack(
        [
            torch.stack([wide * cos, wide * (slant - sin), torch.zeros(count)], dim=1),
            torch.stack([tall * sin, tall * cos, torch.zeros(count)], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    for cells, most in ((4, 0.11), (7, 0.03)):
        bend = torch.randn(count, 2, cells, cells, generator=generator)
        bend = F.interpolate(bend, size=(CANVAS, CANVAS), mode="bicubic", align_corners=True)
        strength = uniform(generator, count, 0.0, most)[:, None, None, None]
        grid = grid + (bend * strength).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def pen(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Redraw each digit with a finer or broader, harder or softer pen."""
    count = len(images)
    level = uniform(generator, count, 0.28, 0.65)[:, None, None, None]
    hardness = torch.exp(uniform(generator, count, 1.6, 3.6))[:, None, None, None]
    return torch.sigmoid((images - level) * hardness)


def picture(inked: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn an inked canvas into the pixels [h, w, 1] of a picture of random size, place, polarity, contrast, noise and
    format.
    """
    rows, columns = np.flatnonzero(inked.max(1) > 0.3), np.flatnonzero(inked.max(0) > 0.3)
    if len(rows) == 0:
        return inked[:, :, None] * 255.0
    cut = Image.fromarray((inked[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] * 255).astype(np.uint8))
    height = int(np.exp(rng.uniform(np.log(7), np.log(90))))
    width = max(1, round(cut.width * height / cut.height))
    resample = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.BOX, Image.Resampling.LANCZOS)
    cut = cut.resize((width, height), resample[rng.integers(4)])
    left, right, above, below = (int(rng.uniform(0.0, 0.8) ** 2 * height + rng.integers(0, 3)) for _ in range(4))
    paper = np.zeros((height + above + below, width + left + right), dtype=np.float32)
    paper[above : above + height, left : left + width] = np.asarray(cut, dtype=np.float32) / 255.0
    ground = rng.uniform(0, 60)
    strength = rng.uniform(80, 255 - ground)
    shown = ground + paper * strength
    if height > 16 and rng.random() < 0.3:
        blur = ImageFilter.GaussianBlur(rng.uniform(0.3, height / 30))
        shown = np.asarray(Image.fromarray(shown.astype(np.uint8)).filter(blur), dtype=np.float32)
    if rng.random() < 0.4:
        shown = shown + rng.normal(0, rng.uniform(0, 0.06) * strength, shown.shape)
    if rng.random() < 0.5:
        shown = 255.0 - shown
    shown = np.clip(shown, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        file = io.BytesIO()
        Image.fromarray(shown).save(file, "JPEG", quality=int(rng.integers(30, 95)))
        return decode(file.getvalue())
    return shown.astype(np.float32)[:, :, None]
