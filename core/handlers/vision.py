"""VisionHandler: images from requests to a batch on the device, and explanations by captum. Imports torch and PIL."""

from __future__ import annotations

import base64
import io
from typing import Any

import torch
from PIL import Image

from .base import BaseHandler
from .context import Context
from .explaining import captum_attr
from .fused_normalize import FusedNormalize
from .prediction_exception import PredictionException
from .timer import timed


class VisionHandler(BaseHandler):
    """A subclass has `image_processing`, which turns a PIL image into a tensor."""

    image_processing: Any
    _ig: Any = None

    def initialize(self, context: Context) -> None:
        super().initialize(context)
        if context.system_properties.get("limit_max_image_pixels") is False:
            Image.MAX_IMAGE_PIXELS = None

    @property
    def ig(self) -> Any:
        """captum's IntegratedGradients of the model. Raises PredictionException (501) without captum."""
        if self._ig is None:
            self._ig = captum_attr().IntegratedGradients(self.model)
        return self._ig

    @ig.setter
    def ig(self, value: Any) -> None:
        self._ig = value

    @timed
    def preprocess(self, data: Any) -> Any:
        """One tensor for the batch, from `data` or `body`: an encoded image, one in base64, or nested lists."""
        inputs = [_image_or_lists(row.get("data") or row.get("body")) for row in data]
        fused = FusedNormalize.of(self.image_processing)
        pictures = [each for each in inputs if isinstance(each, Image.Image)]
        if fused is not None and len(pictures) == len(inputs) and fused.fits(pictures):
            batch = fused.batch(pictures, self.device)
            if batch is not None:
                return batch
        return self.combine([self._to_tensor(each) for each in inputs])

    def combine(self, tensors: list[torch.Tensor]) -> Any:
        """The images of a batch as one tensor on the device."""
        return torch.stack(tensors).to(self.device)

    def _to_tensor(self, image: Any) -> Any:
        return self.image_processing(image) if isinstance(image, Image.Image) else torch.FloatTensor(image)

    def get_insights(self, tensor_data: Any, raw_input: Any, target: Any = 0) -> Any:
        """Integrated gradients of `target`, in 15 steps from the mean colour, as nested lists of the batch's shape.

        Raises PredictionException: 501 without captum, 400 for a class that the model does not have.
        """
        try:
            return self.ig.attribute(tensor_data, target=target, n_steps=15).tolist()
        except IndexError as error:
            raise PredictionException(f"the model has no class {target}: {error}", 400) from error


def _image_or_lists(value: Any) -> Any:
    """An encoded image opened, its pixels not decoded yet; anything else as it is."""
    if isinstance(value, str):
        value = base64.b64decode(value)
    return Image.open(io.BytesIO(value)) if isinstance(value, bytes | bytearray) else value
