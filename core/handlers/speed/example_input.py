"""What a model would be given for a request, where that is certain: to warm it up, not for answers. Imports torch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_SIDE = 320  # of the picture; most pipelines cut their own size from it


def example_input(handler: Any, shape: Any) -> torch.Tensor | None:
    """One row of a batch, on the handler's device: of `shape`, if that is a list, as the yaml's `warmUp` may be, or a
    picture through the handler's own `image_processing`.

    None if the hooks between a request and the model aren't ours, because then nobody knows what they make of it.
    """
    if isinstance(shape, list):
        return torch.zeros(shape, device=handler.device) if ours(handler, "inference") else None
    processing = getattr(handler, "image_processing", None)
    if processing is None or not ours(handler, "preprocess", "combine", "inference", "handle"):
        return None
    from PIL import Image  # the image handlers have it loaded

    noise = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    row = processing(Image.fromarray(noise))
    return row.to(handler.device) if isinstance(row, torch.Tensor) else None


def ours(handler: Any, *hooks: str) -> bool:
    """Return whether all these methods of the handler are defined in `core.handlers`, none by the model's author."""
    package = __name__.removesuffix("speed.example_input")
    return all(getattr(handler, hook, ours).__module__.startswith(package) for hook in hooks)


@contextmanager
def untouched(handler: Any) -> Iterator[None]:
    """Random numbers and the model's buffers are afterwards what they were before; nothing is measured meanwhile."""
    model, device = handler.model, None if handler.device is None else torch.device(handler.device)
    buffers = list(model.buffers()) if isinstance(model, torch.nn.Module) else []
    kept = [(buffer, buffer.detach().clone()) for buffer in buffers]
    state, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002  (whoever uses the old one must not see us)
    context, handler.context = handler.context, None  # without one `timed` reports nothing
    try:
        with torch.random.fork_rng([device] if device is not None and device.type == "cuda" else []):
            yield
    finally:
        handler.context = context
        random.setstate(state)
        np.random.set_state(numbers)  # noqa: NPY002
        with torch.no_grad():
            for buffer, before in kept:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
