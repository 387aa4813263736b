"""ImageSegmenter, the default handler for segmentation: class and probability of every pixel. Imports torchvision."""

from __future__ import annotations

from typing import Any

import torch
from torchvision import transforms

from .timer import timed
from .vision import VisionHandler


class ImageSegmenter(VisionHandler):
    """For models whose output has scores [N, classes, H, W] under `out`, as torchvision's."""

    image_processing = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )

    @timed
    def postprocess(self, data: Any) -> Any:
        """[H][W][2] for each image: the number of the likeliest class, and its probability."""
        probabilities, classes = torch.softmax(data["out"], dim=1).max(dim=1)
        return torch.stack([classes.to(probabilities.dtype), probabilities], dim=3).tolist()
