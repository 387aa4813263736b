"""The default handler `image_classifier`. Imports torchvision."""

from __future__ import annotations

from typing import Any

from torch.nn import functional

from .images.quick_torchvision import transforms
from .labels import map_class_to_label
from .timer import timed
from .vision import VisionHandler


class ImageClassifier(VisionHandler):
    """A handler that answers {label: probability} for the `topk` most probable classes, the most probable first."""

    topk = 5
    image_processing = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )

    def set_max_result_classes(self, topk: int) -> None:
        self.topk = topk

    def get_max_result_classes(self) -> int:
        return self.topk

    @timed
    def postprocess(self, data: Any) -> list[dict[str, float]]:
        probabilities, classes = functional.softmax(data, dim=1).topk(min(self.topk, data.shape[1]), dim=1)
        return map_class_to_label(probabilities.tolist(), self.mapping, classes.tolist())
