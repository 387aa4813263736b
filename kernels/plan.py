"""Plan: the last steps of a torchvision pipeline, in the terms of resize_normalize.

Imports torch, and not torchvision: its classes are known by their names, and are loaded if a pipeline is made of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from .resize_normalize.frame import Fit, Size

_FILTERS = {"bilinear": "bilinear", "bicubic": "bicubic", 2: "bilinear", 3: "bicubic"}


class Unplanned(Exception):
    """The pipeline has no plan; the text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of a pipeline: the steps of `head` run as written, on the picture; the others are fused."""

    fit: Fit
    filter: str = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    on_tensors: bool = False
    """Whether pictures are resized as tensors, not as Pillow images: the passes then always come in the same order."""
    head: tuple[Any, ...] = ()

    def takes(self, channels: int) -> bool:
        """Return whether a picture of so many channels can be normalised so."""
        return channels in (1, 3) and len(self.mean) in (1, channels)

    def colours(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the means and stds for so many channels."""
        times = channels // len(self.mean)
        return self.mean * times, self.std * times

    def __str__(self) -> str:
        words = [_name(step) for step in self.head]
        if self.fit.resize is not None:
            size = self.fit.resize if isinstance(self.fit.resize, int) else "x".join(map(str, self.fit.resize))
            limit = f" up to {self.fit.longest}" if self.fit.longest else ""
            words.append(f"resize {size}{limit} {self.filter}")
        if self.fit.crop:
            words.append(f"crop {self.fit.crop[0]}x{self.fit.crop[1]}")
        words.append("scale" if self.mean == (0.0,) and self.std == (1.0,) else "normalize")
        done = len(self.head)
        return " + ".join([*words[:done], f"[{', '.join(words[done:])}]"])


def read(processing: Any) -> Plan:
    """Return the plan of a Compose, or of one of torchvision's presets for classification. Raises Unplanned.

    Only torchvision's own classes are understood: a subclass may mean anything.
    """
    if _is(processing, "ImageClassification"):
        return _preset(processing)
    if not _is(processing, "Compose"):
        raise Unplanned(f"image_processing is a {_name(processing)}, no Compose")
    steps = _Steps(list(processing.transforms))
    mean, std = _normalization(steps)
    tensors = _conversion(steps)
    crop, resize = steps.pop("CenterCrop"), steps.pop("Resize")
    if tensors:
        steps.need("PILToTensor", "ToImage")
    _check(resize, tensors=tensors)
    fit = Fit(
        crop=_size(crop.size) if crop else None,
        resize=_side(resize.size) if resize else None,
        longest=resize.max_size if resize else None,
    )
    return Plan(fit, _filter(resize) if resize else "bilinear", mean, std, on_tensors=tensors, head=tuple(steps.left))


@dataclass
class _Steps:
    """The steps of a pipeline, which are taken from its end."""

    left: list[Any] = field(default_factory=list)

    def pop(self, *names: str) -> Any:
        """Take and return the last step, if it is of one of these classes; else return None."""
        return self.left.pop() if self.left and _is(self.left[-1], *names) else None

    def need(self, *names: str) -> Any:
        """Take and return the last step. Raises Unplanned if it is of none of these classes."""
        found = self.pop(*names)
        if found is None:
            last = f"there is {_name(self.left[-1])}" if self.left else "it begins"
            raise Unplanned(f"where {' or '.join(names)} was looked for, {last}")
        return found


def _normalization(steps: _Steps) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Take the last step if it is Normalize; return means and stds."""
    step = steps.pop("Normalize")
    if step is None:
        return (0.0,), (1.0,)
    mean, std = tuple(map(float, step.mean)), tuple(map(float, step.std))
    if len(mean) != len(std) or len(mean) not in (1, 3) or 0.0 in std:
        raise Unplanned(f"Normalize has the means {mean} and the stds {std}")
    return mean, std


def _conversion(steps: _Steps) -> bool:
    """Take the steps that make floats of bytes; return whether what comes before them is a tensor already."""
    if steps.pop("ToTensor"):
        return False
    step = steps.need("ToTensor", "ToDtype", "ConvertImageDtype")
    if step.dtype != torch.float32 or not getattr(step, "scale", True):
        raise Unplanned(f"{_name(step)} makes {step.dtype}, and not float32 from 0 to 1")
    return steps.pop("PILToTensor", "ToImage") is None


def _check(resize: Any, *, tensors: bool) -> None:
    """Raise Unplanned for a Resize that the kernel doesn't do."""
    if resize is None:
        return
    if tensors and (_filter(resize) != "bilinear" or not resize.antialias):
        raise Unplanned("Resize is of a tensor, and not bilinear with antialias")
    if resize.size is None:
        raise Unplanned("Resize has no size")


def _preset(processing: Any) -> Plan:
    """Return the plan of a preset: Resize, CenterCrop, PILToTensor, ConvertImageDtype and Normalize in one module."""
    fit = Fit(crop=_size(processing.crop_size), resize=_side(processing.resize_size))
    mean, std = tuple(map(float, processing.mean)), tuple(map(float, processing.std))
    if len(mean) not in (1, 3) or len(mean) != len(std) or 0.0 in std:
        raise Unplanned(f"the preset has the means {mean} and the stds {std}")
    return Plan(fit, _filter(processing), mean, std)


def _filter(step: Any) -> str:
    """Return the name of a step's interpolation: an InterpolationMode, its name, or Pillow's number."""
    kind = getattr(step.interpolation, "value", step.interpolation)
    found = _FILTERS.get(kind)
    if found is None:
        raise Unplanned(f"{_name(step)} is by {kind}, and neither bilinear nor bicubic")
    return found


def _side(size: Any) -> int | Size:
    """Return the shorter side's length if there is one number, else the size."""
    if isinstance(size, int):
        return size
    return int(size[0]) if len(size) == 1 else _size(size)


def _size(size: Any) -> Size:
    both = (size, size) if isinstance(size, int) else tuple(size) * (2 if len(size) == 1 else 1)
    return int(both[0]), int(both[1])


def _is(step: Any, *names: str) -> bool:
    kind = type(step)
    return kind.__name__ in names and kind.__module__.startswith("torchvision.transforms.")


def _name(step: Any) -> str:
    return getattr(step, "__name__", None) or type(step).__name__
