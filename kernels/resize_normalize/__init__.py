"""Pictures of many sizes to one normalised batch: resize, crop, scale, normalise and lay out, in one launch."""

from .frame import Fit, Frame
from .op import RESIZE_NORMALIZE, resize_normalize

__all__ = ["RESIZE_NORMALIZE", "Fit", "Frame", "resize_normalize"]
