"""How well the committed weights read digits they never saw: `python evaluate.py` prints the table.

The held-out digits are the last HELD_OUT of each class in scikit-learn's order, which goes writer by writer: nearly all
of them are by people who are not in the training set.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from ink import read_ink
from model import DigitNet
from PIL import Image
from sklearn.datasets import load_digits

HERE = Path(__file__).resolve().parent
HELD_OUT = 36  # images of each class
SIZES = ((8, 8), (28, 28), (64, 64), (200, 120), (1000, 1000))  # width, height


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images [n, 8, 8] from 0 to 1 and their labels, then the held-out images and labels."""
    data = load_digits()
    images, labels = (data.images / 16.0).astype(np.float32), data.target.astype(np.int64)
    held = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        held[np.flatnonzero(labels == digit)[-HELD_OUT:]] = True
    return images[~held], labels[~held], images[held], labels[held]


def render(image: np.ndarray, size: tuple[int, int], *, dark_on_light: bool, form: str) -> bytes:
    """An 8x8 digit as an encoded picture of `size` (width, height), on a page of its own colour."""
    width, height = size
    side = min(width, height)
    digit = Image.fromarray((image * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    page = Image.new("L", size, 0)
    page.paste(digit, ((width - side) // 2, (height - side) // 2))
    if dark_on_light:
        page = Image.eval(page, lambda value: 255 - value)
    file = io.BytesIO()
    page.save(file, form, **({"quality": 75} if form == "JPEG" else {"compress_level": 1}))
    return file.getvalue()


def accuracy(model: torch.nn.Module, files: list[bytes], labels: np.ndarray) -> float:
    ink = torch.from_numpy(np.stack([read_ink(file) for file in files]))[:, None]
    with torch.inference_mode():
        return float((model(ink).argmax(1).numpy() == labels).mean())


def report(model: torch.nn.Module) -> list[tuple[str, str, str, float]]:
    """Print and return the held-out accuracy for each picture size, polarity and file format."""
    _, _, images, labels = split()
    rows = []
    print(f"held-out accuracy, {len(labels)} images")
    for size in SIZES:
        for dark_on_light in (False, True):
            for form in ("PNG", "JPEG"):
                files = [render(image, size, dark_on_light=dark_on_light, form=form) for image in images]
                polarity = "black on white" if dark_on_light else "white on black"
                row = (f"{size[0]}x{size[1]}", polarity, form, accuracy(model, files, labels))
                print(f"{row[0]:>10}  {row[1]:<14}  {row[2]:<4}  {row[3]:7.2%}", flush=True)
                rows.append(row)
    print(f"mean {np.mean([row[3] for row in rows]):.2%}, worst {min(row[3] for row in rows):.2%}")
    return rows


def load(weights: Path) -> DigitNet:
    model = DigitNet()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=HERE / "digits.pt")
    report(load(parser.parse_args().weights))
