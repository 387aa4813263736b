"""Images from requests: Pillow opens and checks them, and the fastest decoder that gives the same pixels
decodes them.
"""

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
    decode_jpeg = None  # the extra `vision` is missing; Pillow gives the same pixels more slowly

log = logging.getLogger(__name__)

_CHANNELS = {"L": 1, "RGB": 3}
_JPEG = {"L": "GRAY", "RGB": "RGB"}
_END = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Picture:
    """An opened image whose pixels are not decoded yet, with the bytes that it was opened from."""

    image: Image.Image
    encoded: bytes | bytearray | memoryview = b""

    def pixels(self) -> torch.Tensor:
        """Return the pixels as uint8 [H, W, C], equal to Pillow's to the last bit. The image's mode must be L or RGB.

        A plain JPEG is decoded by simplejpeg, which is the same libjpeg-turbo with the same settings but without
        Pillow's copies. A file with which simplejpeg finds any fault is left to Pillow, which reads or refuses it.
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

    def scaled(self, least: tuple[int, int]) -> torch.Tensor:
        """Return the pixels of a smaller picture that has at least the height and width `least`.

        libjpeg-turbo makes it of fewer coefficients than the whole picture has, at a half, three eighths, a quarter or
        an eighth of the sides. Its pixels are near those of a resized picture, and not equal to them. What is no plain
        coloured JPEG, or would not become half as large, comes whole.
        """
        image, (height, width) = self.image, least
        if (
            type(image) is not JpegImageFile
            or image.mode != "RGB"
            or 2 * height > image.height
            or 2 * width > image.width
        ):
            return self.pixels()
        if decode_jpeg is not None and self.encoded:
            try:
                small = decode_jpeg(self.encoded, "RGB", min_height=height, min_width=width, min_factor=2)
            except ValueError as error:
                log.debug("a JPEG is left to Pillow: %s", error)
            else:
                if (
                    height <= small.shape[0] <= image.height // 2 + 1
                    and width <= small.shape[1] <= image.width // 2 + 1
                ):
                    return torch.from_numpy(small)
        image.draft("RGB", (width, height))
        return torch.from_numpy(np.array(image))

    def for_device(self) -> Source:
        """Return a JPEG for the device to decode, or the pixels.

        The device gets complete, coloured JPEGs with the usual colour coding only.
        """
        image = self.image
        if type(image) is not JpegImageFile or image.mode != "RGB" or bytes(self.encoded[-2:]) != _END:
            return self.pixels()
        if [layer[0] for layer in image.layer] != [1, 2, 3] or image.info.get("adobe_transform", 1) != 1:
            return self.pixels()
        return Jpeg(self.encoded, (image.height, image.width), self._refused)

    def _refused(self, why: Exception) -> torch.Tensor:
        log.debug("a JPEG is left to the host: %s", why)
        return self.pixels()


def open_picture(value: Any) -> Any:
    """Return a Picture of an encoded image, which may be base64 text. Return any other value as it is.

    Pillow reads only the header here. It refuses what is no image, and an image of more pixels than it allows.
    """
    if isinstance(value, str):
        value = base64.b64decode(value)
    return Picture(Image.open(io.BytesIO(value)), value) if isinstance(value, bytes | bytearray) else value


def channels(image: Any) -> int:
    """Return the bytes per pixel of an image in mode L (1) or RGB (3), and 0 for anything else."""
    return _CHANNELS.get(image.mode, 0) if isinstance(image, Image.Image) else 0
