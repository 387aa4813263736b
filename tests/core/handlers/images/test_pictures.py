"""Pictures: whatever arrives is opened, decoded and refused as Pillow does it."""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from torchserve.core.handlers.images import pictures
from torchserve.core.handlers.images.pictures import Picture, channels, open_picture
from torchserve.kernels.jpeg import Jpeg


def photo(width: int, height: int, mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(width * height).normal(0, 9, (height, width, 3))
    y, x = np.mgrid[:height, :width]
    waves = np.stack([128 + 100 * np.sin(x / 7 + y / 11), 128 + 90 * np.cos(x / 9), (x + y) % 256], axis=-1)
    return Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def as_pillow(data: bytes) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(data))))
    return pixels if pixels.dim() == 3 else pixels[..., None]


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("size", [(500, 375), (37, 41), (1, 1), (17, 1), (16, 16), (333, 7)])
@pytest.mark.parametrize("quality", [30, 95])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2, "4:1:1"])
def test_jpegs_to_the_last_bit(size: tuple[int, int], subsampling: Any, progressive: bool, quality: int) -> None:
    data = encoded(photo(*size), subsampling=subsampling, progressive=progressive, quality=quality)
    assert torch.equal(open_picture(data).pixels(), as_pillow(data))


OTHERS = [
    encoded(photo(40, 30, "L")),
    encoded(photo(40, 30), exif=rotated()),
    encoded(photo(40, 30), icc_profile=b"not a profile"),
    encoded(photo(40, 30), keep_rgb=True),
    encoded(photo(40, 30), restart_marker_blocks=1),
    encoded(photo(40, 30)) + b"and some more",
    encoded(photo(40, 30, "CMYK")),
    encoded(photo(40, 30), "MPO", save_all=True, append_images=[photo(20, 10)]),
    encoded(photo(40, 30), "PNG"),
    encoded(photo(40, 30, "RGBA"), "PNG"),
    encoded(photo(40, 30, "P"), "PNG"),
    encoded(photo(40, 30, "1"), "PNG"),
    encoded(photo(40, 30, "I;16"), "PNG"),
    encoded(photo(40, 30), "WEBP", lossless=True),
    encoded(photo(40, 30), "GIF"),
    encoded(photo(40, 30), "BMP"),
    encoded(photo(40, 30), "TIFF"),
]


@pytest.mark.parametrize("data", OTHERS)
def test_other_kinds_as_pillow(data: bytes) -> None:
    assert torch.equal(open_picture(data).pixels(), as_pillow(data))
    assert torch.equal(open_picture(base64.b64encode(data).decode()).pixels(), as_pillow(data))


@pytest.mark.parametrize(
    ("mode", "count"), [("L", 1), ("RGB", 3), ("RGBA", 0), ("P", 0), ("1", 0), ("I;16", 0), ("F", 0)]
)
def test_channels(mode: str, count: int) -> None:
    assert channels(Image.new(mode, (1, 1))) == count


def test_what_is_no_picture_is_left_alone() -> None:
    for value in ([[1.0]], None, 3, photo(2, 2)):
        assert open_picture(value) is value
    assert channels(torch.zeros(1)) == 0


WHOLE = encoded(photo(64, 48), quality=80)


def outcome(read: Any) -> Any:
    """The pixels, or what was raised."""
    try:
        return read().tolist()
    except Exception as error:
        return type(error), re.split("[(<]", str(error))[0]  # not how many bytes were left over, nor an address


@given(
    cut=st.integers(0, len(WHOLE)),
    spoilt=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=3),
)
def test_torn_and_spoilt_jpegs_as_pillow(cut: int, spoilt: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE)
    for place, byte in spoilt:
        data[place] = byte
    torn = bytes(data[:cut])
    assert outcome(lambda: open_picture(torn).pixels()) == outcome(lambda: as_pillow(torn))


def test_a_torn_jpeg_is_shown_where_pillow_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert torch.equal(open_picture(WHOLE[:900]).pixels(), as_pillow(WHOLE[:900]))


def bomb(width: int, height: int) -> bytes:
    """A PNG's header, and nothing behind it."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">II", zlib.crc32(head), 9) + b"IDAT"


def jpeg_bomb(width: int, height: int) -> bytes:
    at = WHOLE.index(b"\xff\xc0") + 5
    return WHOLE[:at] + struct.pack(">HH", height, width) + WHOLE[at + 4 :]


@pytest.mark.parametrize("data", [bomb(30_000, 30_000), jpeg_bomb(60_000, 60_000)])
def test_bombs_are_refused_by_their_headers(data: bytes) -> None:
    with pytest.raises(Image.DecompressionBombError, match="exceeds limit"):
        open_picture(data)


def test_large_ones_are_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48 - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        open_picture(WHOLE)


def test_without_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "decode_jpeg", None)
    assert torch.equal(open_picture(WHOLE).pixels(), as_pillow(WHOLE))


def test_an_image_without_its_bytes() -> None:
    image = photo(9, 7)
    assert torch.equal(Picture(image).pixels(), torch.from_numpy(np.array(image)))


ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"  # says that the colours are RGB


@pytest.mark.parametrize(
    ("data", "is_for_device"),
    [
        (encoded(photo(40, 30)), True),
        (encoded(photo(40, 30), progressive=True), True),
        (encoded(photo(40, 30), exif=rotated()), True),
        (encoded(photo(40, 30), keep_rgb=True), False),
        (encoded(photo(40, 30), keep_rgb=True).replace(b"Adobe", b"Other"), False),
        (encoded(photo(40, 30)).replace(b"\xff\xdb", ADOBE + b"\xff\xdb", 1), False),
        (encoded(photo(40, 30, "L")), False),
        (encoded(photo(40, 30, "CMYK")), False),
        (encoded(photo(40, 30)) + b"and some more", False),
        (encoded(photo(40, 30), "MPO", save_all=True, append_images=[photo(20, 10)]), False),
        (encoded(photo(40, 30), "PNG"), False),
    ],
)
def test_which_ones_a_device_may_decode(data: bytes, is_for_device: bool) -> None:
    """As it would: coloured, whole, and coded in the usual colours."""
    picture = open_picture(data)
    source = picture.for_device()
    assert isinstance(source, Jpeg) is is_for_device
    pixels = source.otherwise(ValueError("no")) if isinstance(source, Jpeg) else source
    assert torch.equal(pixels, picture.pixels())
    if isinstance(source, Jpeg):
        assert (source.encoded, source.size) == (data, (30, 40))
