"""The ops there are: handlers, tests and benchmarks read this list. Imports torch; triton only when a kernel runs."""

from __future__ import annotations

from .normalize_images.op import NORMALIZE_IMAGES
from .op import Op

OPS: tuple[Op, ...] = (NORMALIZE_IMAGES,)
