"""VisionHandler: images from requests to a batch on the device, and explanations by captum. Imports torch and PIL."""

from __future__ import annotations

import abc
import base64
import io
from typing import Any

import torch
from PIL import Image

from .base import BaseHandler
from .context import Context


class VisionHandler(BaseHandler, abc.ABC):
    """A subclass has `image_processing`, which turns a PIL image into a tensor."""

    image_processing: Any

    def initialize(self, context: Context) -> None:
        super().initialize(context)
        if context.system_properties.get("limit_max_image_pixels") is False:
            Image.MAX_IMAGE_PIXELS = None

    def preprocess(self, data: Any) -> Any:
        """One tensor for the batch, from `data` or `body`: an encoded image, one in base64, or nested lists."""
        images = [self._to_tensor(row.get("data") or row.get("body")) for row in data]
        return torch.stack(images).to(self.device)

    def _to_tensor(self, image: Any) -> Any:
        if isinstance(image, str):
            image = base64.b64decode(image)
        if isinstance(image, bytes | bytearray):
            return self.image_processing(Image.open(io.BytesIO(image)))
        return torch.FloatTensor(image)

    def get_insights(self, tensor_data: Any, raw_input: Any, target: Any = 0) -> Any:
        """Integrated gradients of `target`, in 15 steps, as nested lists. Needs captum (pip install captum)."""
        try:
            from captum.attr import IntegratedGradients  # pyright: ignore[reportMissingImports]  (optional)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"explanations need captum (pip install captum): {error}") from error
        return IntegratedGradients(self.model).attribute(tensor_data, target=target, n_steps=15).tolist()
