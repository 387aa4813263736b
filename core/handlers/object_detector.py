"""The default handler `object_detector`. Imports torchvision."""

from __future__ import annotations

from typing import Any

import torch

from .images.quick_torchvision import transforms
from .labels import map_class_to_label
from .timer import timed
from .vision import VisionHandler


class ObjectDetector(VisionHandler):
    """A handler for models that return `boxes`, `labels` and `scores` for each image, as torchvision's models do."""

    image_processing = transforms.Compose([transforms.ToTensor()])
    threshold = 0.5

    def combine(self, tensors: list[torch.Tensor]) -> Any:
        """Return a batch tensor if all images have one size, otherwise a list of tensors, which detectors accept as
        well.
        """
        if len({tensor.shape for tensor in tensors}) == 1:
            return super().combine(tensors)
        return [tensor.to(self.device) for tensor in tensors]

    @timed
    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(data, list):
            return super().inference(data, *args, **kwargs)
        rows = len(data)
        more = self.padded_size(rows) - rows
        with torch.inference_mode():
            return self.model([*data, *data[-1:] * more], *args, **kwargs)[:rows]

    @timed
    def postprocess(self, data: Any) -> list[list[dict[str, Any]]]:
        """Return, for each image, {label: [x1, y1, x2, y2], "score": s} of each object with a score of at least
        `threshold`.
        """
        return [self._objects(found) for found in data]

    def _objects(self, found: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        chosen = found["scores"] >= self.threshold
        boxes, labels, scores = (found[key][chosen].tolist() for key in ("boxes", "labels", "scores"))
        return [
            {**map_class_to_label([[box]], self.mapping, [[label]])[0], "score": score}
            for box, label, score in zip(boxes, labels, scores, strict=True)
        ]
