"""Jpeg, a picture that the device may decode, and nvjpeg, the decoder. Its pixels differ a little from libjpeg's.

Imports torch, and torchvision once it decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .resize_normalize.frame import Size

Decode = Callable[[list[Tensor], torch.device], list[Tensor]]
"""Decode JPEGs to uint8 [3, H, W] on the device, ready for the current stream. Raises if it can't decode one."""


class Undecoded(Exception):
    """The device does not decode a picture; the text says why."""


@dataclass(frozen=True)
class Jpeg:
    """A colour JPEG of `size` (height, width)."""

    encoded: bytes | bytearray | memoryview
    size: Size
    otherwise: Callable[[Exception], Tensor]
    """Decode it on the host, to [H, W, 3]; the argument is why the device didn't."""


Source = Tensor | Jpeg
"""A picture: its pixels on the host, uint8 [H, W, C], or the JPEG from which they are decoded."""


def nvjpeg(encoded: list[Tensor], device: torch.device) -> list[Tensor]:
    """Decode JPEGs on the device, by torchvision.

    The decoder's stream does not wait for the current one: the memory of a picture that was decoded before may be freed
    only once the device has read it.
    """
    from torchvision.io import ImageReadMode  # it takes a while to import, and brings the operator

    # torchvision.io.decode_jpeg calls this, but warns at every call that it will be removed. The host decodes then.
    return torch.ops.image.decode_jpegs_cuda(encoded, ImageReadMode.RGB.value, device)


def on_host(pictures: Sequence[Source], why: Exception) -> list[Tensor]:
    """Return the pixels [H, W, C] of all pictures, decoded on the host; `why` is passed to their decoders."""
    return [picture.otherwise(why) if isinstance(picture, Jpeg) else picture for picture in pictures]


def decoded(pictures: Sequence[Source], device: torch.device, decode: Decode) -> tuple[list[Tensor], frozenset[int]]:
    """Return the pixels [H, W, C] of all pictures, and the indices of those that are on the device."""
    jpegs = {number: picture for number, picture in enumerate(pictures) if isinstance(picture, Jpeg)}
    made = dict(zip(jpegs, _tried(list(jpegs.values()), device, decode), strict=True))
    pixels: list[Tensor] = []
    there = set[int]()
    for number, picture in enumerate(pictures):
        if not isinstance(picture, Jpeg):
            pixels.append(picture)
        elif isinstance(answer := made[number], Tensor):
            there.add(number)
            pixels.append(answer.permute(1, 2, 0))
        else:
            pixels.append(picture.otherwise(answer))
    return pixels, frozenset(there)


def _tried(jpegs: list[Jpeg], device: torch.device, decode: Decode) -> list[Tensor | Exception]:
    """Decode all at once; if that fails, one by one, as one that is refused takes the others with it."""
    if not jpegs:
        return []
    try:
        made = decode([torch.frombuffer(bytearray(jpeg.encoded), dtype=torch.uint8) for jpeg in jpegs], device)
    except Exception as error:  # noqa: BLE001  whatever a decoder says, the host decodes
        return [error] if len(jpegs) == 1 else [_tried([jpeg], device, decode)[0] for jpeg in jpegs]
    return [
        answer if answer.shape == (3, *jpeg.size) else Undecoded(f"it came out as {list(answer.shape)}")
        for jpeg, answer in zip(jpegs, made, strict=True)
    ]
