"""Writes samples/: held-out digits as pictures of several sizes, formats and colours, named after their digit."""

from __future__ import annotations

import io

import numpy as np
from evaluate import HERE, render, split
from PIL import Image

# digit, file format, (width, height), dark ink on light paper
PICTURES = (
    (0, "PNG", (28, 28), False),
    (1, "JPEG", (120, 200), True),
    (2, "PNG", (64, 64), True),
    (3, "PNG", (8, 8), False),
    (4, "JPEG", (320, 240), False),
    (5, "PNG", (200, 120), True),
    (6, "JPEG", (57, 91), True),
    (7, "PNG", (400, 400), True),
    (8, "JPEG", (64, 64), False),
    (9, "PNG", (150, 75), False),
)


def main() -> None:
    _, _, images, labels = split()
    folder = HERE / "samples"
    folder.mkdir(exist_ok=True)
    for digit, form, size, dark_on_light in PICTURES:
        image = images[np.flatnonzero(labels == digit)[3 * digit]]
        colour = "black-on-white" if dark_on_light else "white-on-black"
        suffix = "jpg" if form == "JPEG" else "png"
        path = folder / f"{digit}-{colour}.{suffix}"
        path.write_bytes(render(image, size, dark_on_light=dark_on_light, form=form))
    _coloured(images[np.flatnonzero(labels == 7)[20]]).save(folder / "7-red-on-transparent.png")


def _coloured(image: np.ndarray) -> Image.Image:
    """Return the digit as a drawing program saves it: red ink, everything else transparent."""
    mask = Image.open(io.BytesIO(render(image, (96, 96), dark_on_light=False, form="PNG")))
    layer = Image.new("RGBA", mask.size, (200, 30, 30, 255))
    layer.putalpha(mask)
    return layer


if __name__ == "__main__":
    main()
