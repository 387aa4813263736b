"""Measures how well the weights read digits that they were not trained on: `python evaluate.py` prints the table.

scikit-learn's digits lie form by form, each beginning 0 1 2 ... 9 0 1 2 ... 9. The training part ends where a form
ends, so that the held-out digits were written by people who wrote none of the training part.
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
TRAINING = 1415  # the first so many digits; the others are held out
SIZES = ((8, 8), (28, 28), (64, 64), (200, 120), (1000, 1000))  # width, height


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training images [n, 8, 8] (0 to 1) with their labels, then held-out images with theirs."""
    data = load_digits()
    images, labels = (data.images / 16.0).astype(np.float32), data.target.astype(np.int64)
    return images[:TRAINING], labels[:TRAINING], images[TRAINING:], labels[TRAINING:]


def render(image: np.ndarray, size: tuple[int, int], *, dark_on_light: bool, form: str) -> bytes:
    """Return an 8x8 digit as an encoded picture of `size` (width, height), on a page of its own colour."""
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
        read = torch.cat([model(part).argmax(1) for part in ink.split(256)])
    return float((read.numpy() == labels).mean())


def report(model: torch.nn.Module) -> None:
    """Print the held-out accuracy for each picture size, polarity and file format, as a Markdown table."""
    _, _, images, labels = split()
    print(f"{len(labels)} held-out digits\n")
    print("| size | white on black, PNG | JPEG | black on white, PNG | JPEG |\n|---|---|---|---|---|")
    everything = []
    for size in SIZES:
        row = []
        for dark_on_light in (False, True):
            for form in ("PNG", "JPEG"):
                files = [render(image, size, dark_on_light=dark_on_light, form=form) for image in images]
                row.append(accuracy(model, files, labels))
        print(f"| {size[0]}x{size[1]} |", *(f"{share:.2%} |" for share in row), flush=True)
        everything += row
    print(f"\nmean {np.mean(everything):.2%}, worst {min(everything):.2%}")


def report_folder(model: torch.nn.Module, folder: Path) -> None:
    """Print the accuracy on the pictures in folder/0 to folder/9."""
    paths = sorted(path for digit in range(10) for path in (folder / str(digit)).iterdir())
    labels = np.array([int(path.parent.name) for path in paths])
    print(f"{len(paths)} pictures: {accuracy(model, [path.read_bytes() for path in paths], labels):.2%}")


def load(weights: Path) -> DigitNet:
    model = DigitNet()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, nargs="?", help="a folder of folders 0 to 9 to read instead")
    parser.add_argument("--weights", type=Path, default=HERE / "digits.pt")
    options = parser.parse_args()
    if options.pictures:
        report_folder(load(options.weights), options.pictures)
    else:
        report(load(options.weights))
