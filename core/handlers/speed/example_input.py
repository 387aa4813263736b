"""An example of what a model is given for a request, if that is known. It is used to warm the model up.
Imports torch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ...config.speed_options import read_integers

_SIDE = 320  # pixels; larger than what most pipelines crop


def example_input(handler: Any, said: Any) -> torch.Tensor | None:
    """Return one row of a batch on the handler's device, or None if nobody knows what the model is given.

    `said` is `warmUp` of the yaml. If that is a shape, the row is zeros; if it is {shape, below}, random whole numbers
    from 1 on that are below `below`, as a text's tokens are; otherwise a picture that went through the handler's
    `image_processing`. What the model is given is not known if the model's author has overridden a hook before the
    model. Raises ValueError for a mapping that is not such a one.
    """
    if not has_example(handler, said):
        return None
    if isinstance(said, list):
        return torch.zeros(said, device=handler.device)
    if isinstance(said, dict):
        shape, below = read_integers(said)
        return torch.from_numpy(np.random.default_rng(0).integers(1, below, shape)).to(handler.device)
    from PIL import Image  # imported here because only handlers of images need it, which have loaded it already

    noise = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    row = handler.image_processing(Image.fromarray(noise))
    return row.to(handler.device) if isinstance(row, torch.Tensor) else None


def has_example(handler: Any, said: Any) -> bool:
    """Return whether `example_input` may know a row."""
    if isinstance(said, list | dict):
        return hooks_are_builtin(handler, "inference")
    known = getattr(handler, "image_processing", None) is not None
    return known and hooks_are_builtin(handler, "preprocess", "combine", "inference", "handle")


def hooks_are_builtin(handler: Any, *hooks: str) -> bool:
    """Return whether all these methods of the handler are defined in `core.handlers`, none by the model's author."""
    package = __name__.removesuffix("speed.example_input")
    return all(getattr(handler, hook, hooks_are_builtin).__module__.startswith(package) for hook in hooks)


@contextmanager
def restore_state(handler: Any) -> Iterator[None]:
    """Restore random states and the model's buffers when the context ends. Meanwhile `timed` emits no metrics."""
    model, device = handler.model, None if handler.device is None else torch.device(handler.device)
    buffers = list(model.buffers()) if isinstance(model, torch.nn.Module) else []
    kept = [(buffer, buffer.detach().clone()) for buffer in buffers]
    state, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002  (handlers may use the global generator)
    context, handler.context = handler.context, None  # without a context `timed` emits nothing
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
