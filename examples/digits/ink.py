"""From the bytes of any picture of one digit to the 28x28 ink map the network reads.

Used by handler.py when serving and by train.py when training, so that both see the same digits. Needs Pillow and numpy.
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

FLOOR = 0.15  # share of the strongest ink below which everything counts as paper
EDGE = 0.35  # share of the strongest ink from which a pixel belongs to the digit's bounding box
LEAST_CONTRAST = 10.0  # of 255; a picture flatter than this has nothing drawn on it
EVEN = 4.0  # of 255; paper that changes less from side to side counts as evenly lit
STRAY = 0.004  # share of the ink that may lie outside the bounding box on each side: specks of dust


def read_ink(data: bytes) -> np.ndarray:
    """The ink map of an encoded picture: float32 [28, 28], paper 0, ink 1.

    Raises ValueError, with a text fit for the client, if `data` is no picture, too large, or has nothing drawn on it.
    """
    return normalise(decode(data))


def decode(data: bytes) -> np.ndarray:
    """The pixels of an encoded picture, float32 [height, width, channels], 0 to 255, at most WORKING_SIDE a side."""
    if not data:
        raise ValueError("the request has no image in it")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:  # Pillow raises nearly anything on hostile bytes
        raise ValueError(f"not an image in a known format ({', '.join(FORMATS)})") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"the image is {width}x{height} pixels; at most {MAX_PIXELS} pixels are read")
    try:
        image.draft("RGB", (WORKING_SIDE, WORKING_SIDE))  # a JPEG decodes straight to about this size
        return _pixels(ImageOps.exif_transpose(image))
    except Exception as error:
        raise ValueError(f"the {image.format} image is damaged and cannot be decoded") from error


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode.startswith(("I", "F")):  # 16-bit and float greys; their range is not known
        wide = np.asarray(image, dtype=np.float32)
        low, high = float(wide.min()), float(wide.max())
        image = Image.fromarray(((wide - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8))
    if "A" in image.mode or "transparency" in image.info:
        image = _on_paper(image.convert("RGBA"))
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if max(image.size) > WORKING_SIDE:
        scale = WORKING_SIDE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BOX)
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
    """The ink map of `pixels` [height, width, channels], 0 to 255.

    Ink is whatever differs from the paper, and the paper is what the picture's border looks like: so white on black,
    black on white and blue on yellow come out alike. The digit is then cut out, scaled (aspect kept) until its
    longer side is BOX pixels, and put with its centre of mass in the middle, as MNIST's digits were.
    """
    ink = np.abs(pixels - _paper(pixels))
    ink = ink[:, :, 0] if ink.shape[2] == 1 else ink.max(axis=2)
    peak = _peak(ink)
    if peak < LEAST_CONTRAST:
        raise ValueError("nothing is drawn on the image: it has only one shade")
    ink = np.clip((ink / peak - FLOOR) / (1.0 - FLOOR), 0.0, 1.0)
    top, bottom, left, right = _bounds(ink)
    ink = ink[top:bottom, left:right]
    return _place(ink)


def _paper(pixels: np.ndarray) -> np.ndarray:
    """The colour of the paper: one for the picture, or one for each pixel where the light falls unevenly."""
    height, width, _ = pixels.shape
    rim = max(1, min(height, width) // 64)
    border = _rim(pixels, rim)
    flat = np.median(border, axis=0)
    if min(height, width) < 32:
        return flat
    # A photograph is lit unevenly: the paper is a plane through those border pixels that look like paper.
    off = np.abs(border - flat).max(axis=1)
    near = off <= 3.0 * np.median(off) + 8.0
    down = (np.arange(height, dtype=np.float32) / height - 0.5)[:, None, None]
    across = (np.arange(width, dtype=np.float32) / width - 0.5)[None, :, None]
    shape = (height, width, 1)
    places = [np.ones(len(border)), *(_rim(np.broadcast_to(axis, shape), rim)[:, 0] for axis in (down, across))]
    design = np.stack(places, axis=1)[near].astype(np.float64)
    plane = np.linalg.lstsq(design.T @ design, design.T @ border[near], rcond=None)[0].astype(np.float32)
    if np.abs(plane[1:]).max() < EVEN:
        return flat
    return plane[0] + down * plane[1] + across * plane[2]


def _rim(pixels: np.ndarray, rim: int) -> np.ndarray:
    """The outermost `rim` rows and columns, as [n, channels]."""
    inner = pixels[rim:-rim]
    parts = (pixels[:rim], pixels[-rim:], inner[:, :rim], inner[:, -rim:])
    return np.concatenate([part.reshape(-1, pixels.shape[2]) for part in parts])


def _peak(ink: np.ndarray) -> float:
    """The strength of the ink: the mean of its strongest pixels, so that one hot pixel does not decide."""
    strongest = max(4, ink.size // 500)
    flat = ink.ravel()
    if flat.size <= strongest:
        return float(flat.max())
    return float(np.partition(flat, flat.size - strongest)[-strongest:].mean())


def _bounds(ink: np.ndarray) -> tuple[int, int, int, int]:
    body = np.where(ink > EDGE, ink, 0.0)
    top, bottom = _span(body.sum(axis=1))
    left, right = _span(body.sum(axis=0))
    return top, bottom, left, right


def _span(profile: np.ndarray) -> tuple[int, int]:
    share = np.cumsum(profile) / profile.sum()
    first = int(np.searchsorted(share, STRAY, side="right"))
    last = int(np.searchsorted(share, 1.0 - STRAY, side="left"))
    return first, min(last, len(profile) - 1) + 1


def _place(ink: np.ndarray) -> np.ndarray:
    height, width = ink.shape
    side = max(height, width) * SIZE / BOX
    mass = ink.sum()
    centre_y = float((ink.sum(axis=1) * (np.arange(height) + 0.5)).sum() / mass)
    centre_x = float((ink.sum(axis=0) * (np.arange(width) + 0.5)).sum() / mass)
    # A lopsided digit is moved only as far as keeps all of it on the map.
    upper = min(max(centre_y - side / 2, height - side), 0.0)
    leftmost = min(max(centre_x - side / 2, width - side), 0.0)
    above, before = int(np.ceil(-upper)), int(np.ceil(-leftmost))
    below = max(0, int(np.ceil(upper + side)) - height)
    after = max(0, int(np.ceil(leftmost + side)) - width)
    canvas = Image.fromarray(np.pad(ink, ((above, below), (before, after))).astype(np.float32))
    box = (leftmost + before, upper + above, leftmost + before + side, upper + above + side)
    scaled = np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box))
    return np.clip(scaled / max(float(scaled.max()), 1e-6), 0.0, 1.0)
