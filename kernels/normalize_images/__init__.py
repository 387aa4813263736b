"""uint8 pictures to normalised floats: what `ToTensor` and `Normalize` do, for a batch, in one pass. Imports torch."""

from .op import NORMALIZE_IMAGES, normalize_images

__all__ = ["NORMALIZE_IMAGES", "normalize_images"]
