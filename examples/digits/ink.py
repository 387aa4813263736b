"""Turns the bytes of a picture of one digit into the 28x28 ink map that the network reads. Needs Pillow and numpy.

handler.py uses it for serving and train.py for training, so that both see the same digits.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

SIZE = 28  # side of the ink map, pixels
BOX = 20  # longest side of the digit inside it, pixels: MNIST's convention
MAX_PIXELS = 25_000_000  # larger pictures are refused before they are decoded
WORKING_SIDE = 256  # pictures are first reduced to this longest side, pixels
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")

_ORIENTED = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}  # where Pillow finds how a picture was held

FLOOR = 0.15  # share of the strongest ink below which everything counts as paper
EDGE = 0.35  # share of the strongest ink from which a pixel belongs to the digit's bounding box
LEAST_CONTRAST = 10.0  # of 255; a picture flatter than this has nothing drawn on it
EVEN = 2.0  # of 255; a border that differs less than this from one shade is evenly lit
STRAY = 0.004  # share of the ink that may lie outside the bounding box on each side: specks of dust


def read_ink(data: bytes) -> np.ndarray:
    """Return the ink map of an encoded picture: float32 [28, 28], paper 0, ink 1.

    Raises ValueError, with a text for the client, if `data` is no picture, is too large, or has nothing drawn on it.
    """
    return normalise(decode(data))


def decode(data: bytes) -> np.ndarray:
    """Return the pixels of an encoded picture: float32 [height, width, channels], 0 to 255, at most WORKING_SIDE a
    side.
    """
    if not data:
        raise ValueError("the request has no image in it")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(f"the image is too large; at most {MAX_PIXELS} pixels are read") from error
    except Exception as error:  # Pillow raises nearly anything on hostile bytes
        raise ValueError(f"not an image in a known format ({', '.join(FORMATS)})") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"the image is {width}x{height} pixels; at most {MAX_PIXELS} pixels are read")
    try:
        image.draft("RGB", (WORKING_SIDE, WORKING_SIDE))  # a JPEG decodes straight to about this size
        image.load()
        # Looking for an orientation costs as much as decoding a small picture, and most pictures have none.
        return _pixels(ImageOps.exif_transpose(image) if _ORIENTED & image.info.keys() else image)
    except Exception as error:
        raise ValueError(f"the {image.format} image is damaged and cannot be decoded") from error


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode.startswith(("I", "F")):  # 16-bit and float greys; their range is not known
        wide = np.asarray(image, dtype=np.float32)
        low, high = float(wide.min()), float(wide.max())
        image = Image.fromarray(((wide - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8))
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if max(image.size) > WORKING_SIDE:
        scale = WORKING_SIDE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BOX)
    if image.mode == "RGBA":
        image = _on_paper(image)
    pixels = np.asarray(image, dtype=np.float32)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _on_paper(image: Image.Image) -> Image.Image:
    """Lay a transparent picture on white if what is drawn is dark, on black if it is light."""
    alpha = np.asarray(image.getchannel("A"), dtype=np.float32)
    light = np.asarray(image.convert("L"), dtype=np.float32)
    drawn = float((light * alpha).sum() / max(float(alpha.sum()), 1.0))
    paper = Image.new("RGBA", image.size, "black" if drawn > 127 else "white")
    return Image.alpha_composite(paper, image).convert("RGB")


def normalise(pixels: np.ndarray) -> np.ndarray:
    """Return the ink map of `pixels` [height, width, channels], 0 to 255.

    Ink is whatever differs from the paper, and the paper is what the picture's border looks like. So white on black,
    black on white and blue on yellow give the same map. The digit is cut out, scaled (with its aspect kept) until its
    longer side is BOX pixels, and placed with its centre of mass in the middle, as MNIST's digits are.
    """
    ink = np.abs(pixels - _paper(pixels))
    ink = ink[:, :, 0] if ink.shape[2] == 1 else ink.max(axis=2)
    peak = _peak(ink)
    if peak < LEAST_CONTRAST:
        raise ValueError("nothing is drawn on the image: it has only one shade")
    ink = ((ink / peak - FLOOR) / (1.0 - FLOOR)).clip(0.0, 1.0)
    body = np.where(ink > EDGE, ink, 0.0)
    return _place(ink[_span(body.sum(axis=1)), _span(body.sum(axis=0))])


def _paper(pixels: np.ndarray) -> np.ndarray:
    """Return the colour of the paper: one for the picture, or one for each pixel if the picture is unevenly lit."""
    height, width, _ = pixels.shape
    border = _border(pixels)
    flat = _median(border)
    off = np.abs(border - flat).max(axis=1)
    usual = float(_median(off))
    if usual < EVEN or min(height, width) < 32:
        return flat
    # A photograph is lit unevenly: the paper is a plane through those border pixels that look like paper.
    near = off <= 3.0 * usual + 8.0
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    places = np.stack([np.ones_like(down), down, across], axis=2)
    plane = np.linalg.lstsq(_border(places)[near], border[near], rcond=None)[0]
    return (places @ plane).astype(np.float32)


def _border(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _median(colours: np.ndarray) -> np.ndarray:
    return np.sort(colours, axis=0)[len(colours) // 2]


def _peak(ink: np.ndarray) -> float:
    """Return the strength of the ink: the mean of its strongest pixels, so that a single hot pixel does not decide."""
    strongest = min(max(4, ink.size // 500), ink.size)
    return float(np.partition(ink, -strongest, axis=None)[-strongest:].mean())


def _span(profile: np.ndarray) -> slice:
    """Return where the digit begins and ends along one axis, given the ink in each row or column."""
    share = np.cumsum(profile)
    first, last = np.searchsorted(share, (STRAY * share[-1], (1.0 - STRAY) * share[-1]))
    return slice(int(first), int(last) + 1)


def _place(ink: np.ndarray) -> np.ndarray:
    """Return the map with the digit scaled to BOX, its centre of mass as near to the middle as keeps the
    digit whole.
    """
    height, width = ink.shape
    scale = BOX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)).clip(0.0, 1.0)
    mass = float(scaled.sum())
    placed = np.zeros((SIZE, SIZE), dtype=np.float32)
    corner = []
    for profile in (scaled.sum(axis=1), scaled.sum(axis=0)):
        centre = float(profile @ np.arange(0.5, len(profile))) / mass
        corner.append(min(max(round(SIZE / 2 - centre), 0), SIZE - len(profile)))
    top, left = corner
    placed[top : top + size[1], left : left + size[0]] = scaled / scaled.max()
    return placed
