"""Pictures from requests: opened by Pillow, which judges them, and decoded by the fastest way to the same pixels."""

from __future__ import annotations

import base64
import io
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from ....kernels.jpeg import Jpeg, Source

try:
    from simplejpeg import decode_jpeg
except ModuleNotFoundError:
    decode_jpeg = None  # an extra; Pillow gives the same pixels, more slowly

log = logging.getLogger(__name__)

_CHANNELS = {"L": 1, "RGB": 3}
_JPEG = {"L": "GRAY", "RGB": "RGB"}
_END = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, its pixels not decoded yet, and what it was opened from."""

    image: Image.Image
    encoded: bytes | bytearray | memoryview = b""

    def pixels(self) -> torch.Tensor:
        """uint8 [H, W, C] of an image of bytes, which Pillow's are to the last bit.

        A plain JPEG is decoded by simplejpeg: the same libjpeg-turbo with the same settings, without Pillow's copies.
        What it finds the least fault with is Pillow's to read or to refuse.
        """
        image = self.image
        if decode_jpeg is not None and self.encoded and type(image) is JpegImageFile and image.mode in _JPEG:
            try:
                decoded = torch.from_numpy(decode_jpeg(self.encoded, _JPEG[image.mode]))
            except ValueError as error:
                log.debug("a JPEG is left to Pillow: %s", error)
            else:
                if (decoded.shape[1], decoded.shape[0]) == image.size:
                    return decoded
        pixels = np.array(image)
        return torch.from_numpy(pixels if pixels.ndim == 3 else pixels[..., None])

    def for_device(self) -> Source:
        """A coloured JPEG that is whole, its colours coded as usual, for the device to decode; else the pixels."""
        image = self.image
        if type(image) is not JpegImageFile or image.mode != "RGB" or bytes(self.encoded[-2:]) != _END:
            return self.pixels()
        if [layer[0] for layer in image.layer] != [1, 2, 3] or image.info.get("adobe_transform", 1) != 1:
            return self.pixels()
        return Jpeg(self.encoded, (image.height, image.width), self._refused)

    def _refused(self, why: Exception) -> torch.Tensor:
        log.debug("a JPEG is left to the host: %s", why)
        return self.pixels()


def opened(value: Any) -> Any:
    """A Picture of an encoded image, in base64 if it is text; anything else as it is.

    Pillow reads the header alone: it refuses what is no image, and what has more pixels than it allows.
    """
    if isinstance(value, str):
        value = base64.b64decode(value)
    return Picture(Image.open(io.BytesIO(value)), value) if isinstance(value, bytes | bytearray) else value


def channels(image: Any) -> int:
    """How many bytes a pixel has in an image that is nothing but bytes: grey or coloured. Else 0."""
    return _CHANNELS.get(image.mode, 0) if isinstance(image, Image.Image) else 0
