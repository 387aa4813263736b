"""The default handler `image_segmenter`. Imports torchvision."""

from __future__ import annotations

from typing import Any

import torch

from .images.quick_torchvision import transforms
from .timer import timed
from .vision import VisionHandler


class ImageSegmenter(VisionHandler):
    """A handler for models whose output has scores [N, classes, H, W] under the key `out`, as torchvision's
    models do.
    """

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
        """Return [H][W][2] for each image: each pixel's most probable class and its probability."""
        probabilities, classes = torch.softmax(data["out"], dim=1).max(dim=1)
        return torch.stack([classes.to(probabilities.dtype), probabilities], dim=3).tolist()
