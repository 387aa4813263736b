"""Trains the digit reader on scikit-learn's handwritten digits and on digits drawn by rule, and writes digits.pt.

Needs scikit-learn (`pip install '.[train]'` at the repository's root). The same seed gives the same weights on the same
machine.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from augment import CANVAS, enlarge, pen, picture, warp
from evaluate import HERE, report, split
from ink import normalise
from model import DigitNet
from PIL import Image
from strokes import draw

BATCH = 128
PEAK_RATE = 4e-3


class Pictures:
    """An endless source of training pictures: each epoch has every training digit once, and `drawn` digits drawn by
    rule.
    """

    def __init__(self, seed: int, drawn: int) -> None:
        images, labels, _, _ = split()
        self.labels = torch.from_numpy(labels)
        resamples = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
        self.enlarged = torch.stack([enlarge(images, resample) for resample in resamples])
        self.drawn = drawn
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def epoch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ink maps [n, 1, 28, 28] and labels [n], shuffled."""
        count = len(self.labels)
        pick = torch.randint(len(self.enlarged), (count,), generator=self.generator)
        written = pen(warp(self.enlarged[pick, torch.arange(count)], self.generator), self.generator)
        digits = self.rng.integers(0, 10, self.drawn)
        ruled = np.stack([draw(int(digit), CANVAS, self.rng) for digit in digits])[:, None]
        ruled = warp(torch.from_numpy(ruled), self.generator)
        maps, labels = [], []
        inks = torch.cat([written, ruled])[:, 0].numpy()
        for inked, label in zip(inks, [*self.labels.tolist(), *digits], strict=True):
            try:
                maps.append(normalise(picture(inked, self.rng)))
            except ValueError:  # warped off the canvas
                continue
            labels.append(int(label))
        order = torch.randperm(len(labels), generator=self.generator)
        return torch.from_numpy(np.stack(maps))[order, None], torch.tensor(labels)[order]


def train(seed: int, epochs: int, drawn: int) -> DigitNet:
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(mode=True)
    pictures = Pictures(seed, drawn)
    model = DigitNet()
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    steps = epochs * ((len(pictures.labels) + drawn) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps + 1, pct_start=0.2)
    began = time.perf_counter()
    for epoch in range(epochs):
        ink, labels = pictures.epoch()
        model.train()
        total, batches = 0.0, len(labels) // BATCH
        for batch in range(batches):
            part = slice(batch * BATCH, (batch + 1) * BATCH)
            loss = F.cross_entropy(model(ink[part]), labels[part], label_smoothing=0.02)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:3d}  loss {total / batches:.4f}  {time.perf_counter() - began:5.0f} s", flush=True)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--drawn", type=int, default=2880, help="digits drawn by rule in each epoch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "digits.pt")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = train(options.seed, options.epochs, options.drawn)
    torch.save(model.state_dict(), options.out)
    print(f"wrote {options.out}, {options.out.stat().st_size / 1000:.0f} kB")
    report(model)


if __name__ == "__main__":
    main()
