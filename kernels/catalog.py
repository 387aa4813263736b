"""OPS: the list of all ops, which tests and benchmarks read. Imports torch; triton only when a kernel runs."""

from __future__ import annotations

from .normalize_images.op import NORMALIZE_IMAGES
from .op import Op
from .resize_normalize.op import RESIZE_NORMALIZE
from .softmax_topk.op import SOFTMAX_TOPK

OPS: tuple[Op, ...] = (NORMALIZE_IMAGES, RESIZE_NORMALIZE, SOFTMAX_TOPK)
