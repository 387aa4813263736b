"""The base class of handlers of images: requests become a batch on the device. Imports torch and PIL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image

from .base import BaseHandler
from .context import Context
from .explaining import captum_attr
from .images.fused_images import SWITCHED_OFF, Fusion, fusion
from .images.pictures import Picture, open_picture
from .prediction_exception import PredictionException
from .timer import timed


class VisionHandler(BaseHandler):
    """A handler of images. Subclasses set `image_processing`, a callable from a PIL image to a tensor."""

    image_processing: Any
    _ig: Any = None
    _fusion: Fusion | None = None

    def initialize(self, context: Context) -> None:
        super().initialize(context)
        if context.system_properties.get("limit_max_image_pixels") is False:
            Image.MAX_IMAGE_PIXELS = None

    @property
    def ig(self) -> Any:
        """Return captum's IntegratedGradients of the model. Raises PredictionException (501) without captum."""
        """captum's IntegratedGradients of the model. Raises PredictionException (501) without captum."""
        if self._ig is None:
            self._ig = captum_attr().IntegratedGradients(self.model)
        return self._ig

    @ig.setter
    def ig(self, value: Any) -> None:
        self._ig = value

    @timed
    def preprocess(self, data: Any) -> Any:
        """Return one tensor for the batch. Each request's `data` or `body` is an encoded image, one in base64, or
        nested lists.
        """
        inputs = [open_picture(row.get("data") or row.get("body")) for row in data]
        fused = self._find_fusion().fused
        if fused is not None and all(isinstance(each, Picture) for each in inputs):
            batch = fused.batch(inputs)
            if batch is not None:
                return batch
        return self.combine([self._to_tensor(each) for each in inputs])

    def _find_fusion(self) -> Fusion:
        """Return what `image_processing` is fused to, found again if its steps have changed since the last batch."""
        if not self._may_fuse():
            return SWITCHED_OFF
        device = torch.device(getattr(self, "device", None) or "cpu")
        gpu_jpeg, approximate = (self._yaml().get(key, False) for key in ("gpuJpeg", "approximateResize"))
        self._fusion = fusion(self.image_processing, device, self._fusion, gpu_jpeg=gpu_jpeg, approximate=approximate)
        return self._fusion

    def _may_fuse(self) -> bool:
        """Return `fusedPreprocessing` of the model's yaml, True by default."""
        return self._yaml().get("fusedPreprocessing", True) is not False

    def _yaml(self) -> Mapping[str, Any]:
        return getattr(getattr(self, "context", None), "model_yaml_config", None) or {}

    def settle(self, context: Context) -> None:
        super().settle(context)
        if type(self).preprocess is VisionHandler.preprocess and hasattr(self, "image_processing"):
            context.notes["preprocessing"] = self._find_fusion().note

    def combine(self, tensors: list[torch.Tensor]) -> Any:
        """Return the images of a batch as one tensor on the device."""
        return torch.stack(tensors).to(self.device)

    def _to_tensor(self, image: Any) -> Any:
        return self.image_processing(image.image) if isinstance(image, Picture) else torch.FloatTensor(image)

    def get_insights(self, tensor_data: Any, raw_input: Any, target: Any = 0) -> Any:
        """Return the integrated gradients of `target`, in 15 steps from the mean colour, as nested lists of the batch's
        shape.

        Raises PredictionException: 501 without captum, 400 for a class that the model does not have.
        """
        try:
            return self.ig.attribute(tensor_data, target=target, n_steps=15).tolist()
        except IndexError as error:
            raise PredictionException(f"the model has no class {target}: {error}", 400) from error
