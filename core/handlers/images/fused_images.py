"""Fused preprocessing: a torchvision pipeline replaced by our kernels, if both give the same pixels. Imports our
kernels.

`fusion` reads the pipeline's steps into a plan (kernels/plan.py), runs the plan and the pipeline on pictures that are
made for the purpose (the probes), and takes the plan only if no value is off by more than one level of 255.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL import __version__ as pillow

from ....kernels.graphs import Graphs
from ....kernels.jpeg import Jpeg, Source, Undecoded
from ....kernels.pipeline import prepare
from ....kernels.plan import Plan, Unplanned, read
from .pictures import Picture, channels
from .scaled_jpeg import probes as large_probes
from .scaled_jpeg import scaled_source

log = logging.getLogger(__name__)

# Sizes (width, height): wide, high, small, odd, and so flat that the resize takes other passes.
_PROBES = ((500, 375), (360, 640), (64, 48), (101, 333), (31, 250))
_CHECKS = 10  # comparisons after which a pipeline that keeps changing is run as it is written
_ALLOWED = 1.0 + 1e-3  # levels of 255 that a value may be off; the thousandth is for fp32 rounding
_WILD = 24.0  # levels of 255 on average, three times what a device's decoder is off on noise


class Unlike(Exception):
    """An error for a plan whose result differs from its pipeline's. The message says how, and on which picture."""


@dataclass(frozen=True, slots=True)
class FusedImages:
    """A plan that is run on `device` in place of its pipeline."""

    plan: Plan
    device: torch.device
    graphs: Graphs | None = None
    """CUDA graphs of the preprocessing of coloured pictures and of the model that follows, if they were recorded."""
    source: Callable[[Picture], Source] = Picture.pixels
    """The function that gets the pixels of a coloured picture, or leaves its decoding to the device."""

    @property
    def output(self) -> tuple[int, int] | None:
        """Return (height, width) of the result if it is the same for each picture, otherwise None."""
        fit = self.plan.fit
        return fit.crop or (fit.resize if isinstance(fit.resize, tuple) else None)

    def batch(self, pictures: Sequence[Picture]) -> torch.Tensor | None:
        """Return float32 [N, C, H, W] on the device, or None if the pipeline itself must run.

        The pipeline must run for images of modes other than L and RGB, for a mix of both, and for images that do not
        come out at one size.
        """
        plan = self.plan
        ready = [self._after_head(picture) for picture in pictures]
        kinds = {channels(picture.image) for picture in ready}
        if len(kinds) != 1 or not plan.takes(kind := kinds.pop()):
            return None
        by_pillow = not plan.on_tensors and int(pillow.partition(".")[0]) >= 13
        fit = replace(plan.fit, as_pillow=by_pillow)
        sizes = [(picture.image.height, picture.image.width) for picture in ready]
        if fit.crop is None and len({fit.frame(size).output for size in sizes}) != 1:
            return None
        mean, std = plan.colours(kind)
        sources = [self.source(picture) if kind == 3 else picture.pixels() for picture in ready]
        graphs = self.graphs if kind == 3 else None
        return prepare(sources, fit, mean, std, filter=plan.filter, device=self.device, graphs=graphs)

    def _after_head(self, picture: Picture) -> Picture:
        if not self.plan.head:
            return picture
        image: Any = picture.image
        for step in self.plan.head:
            image = step(image)
        return Picture(image)


@dataclass(frozen=True, slots=True)
class Fusion:
    """The result of an attempt to fuse a pipeline.

    `fused` is None if the pipeline runs as it is written. `note` says what was done, on one line. `checks` counts the
    comparisons.
    """

    plan: Plan | None
    fused: FusedImages | None
    note: str
    checks: int = 0


SWITCHED_OFF = Fusion(None, None, "as written: fusedPreprocessing is false in the model's yaml")


def fusion(
    processing: Any,
    device: torch.device,
    known: Fusion | None = None,
    *,
    gpu_jpeg: Any = False,
    approximate: Any = False,
) -> Fusion:
    """Read the plan of the pipeline `processing` and compare it with the pipeline, unless `known` is about the same
    plan.

    With `gpu_jpeg` JPEGs are decoded on the device if it can decode them, and with `approximate` large ones at a
    fraction of their size.
    """
    try:
        plan = read(processing)
    except Unplanned as error:
        note = f"as written: {error}"
    except Exception as error:  # noqa: BLE001  torchvision's classes may change, and must still be used
        note = f"as written: image_processing can't be read, {type(error).__name__}: {error}"
    else:
        if known is not None and (known.plan == plan or known.checks > _CHECKS):
            return known
        made = _checked(plan, processing, device, known.checks + 1 if known is not None else 1)
        return _decoded_otherwise(made, processing, gpu_jpeg, approximate)
    return known if known is not None and known.note == note else _log_note(Fusion(None, None, note))


def _checked(plan: Plan, processing: Any, device: torch.device, checks: int) -> Fusion:
    if checks > _CHECKS:
        return _log_note(Fusion(plan, None, "as written: image_processing is another one time and again", checks))
    fused = FusedImages(plan, device)
    try:
        found = compare(fused, processing)
    except Exception as error:  # noqa: BLE001  a plan that fails, in whatever way, is a plan not taken
        why = error if isinstance(error, Unlike) else f"{type(error).__name__}: {error}"
        return _log_note(Fusion(plan, None, f"as written: {plan} is off, {why}", checks), logging.WARNING)
    return Fusion(plan, fused, f"fused: {plan}, {found}", checks)


def _decoded_otherwise(made: Fusion, processing: Any, gpu_jpeg: Any, approximate: Any) -> Fusion:
    """Have JPEGs decoded as the yaml asks for it, if it does and the pipeline is fused."""
    if made.fused is None:
        return made
    fused, by_device = decode_on_device(made.fused, processing, gpu_jpeg)
    fused, scaled = decode_scaled(fused, processing, approximate)
    return _log_note(replace(made, fused=fused, note=f"{made.note}{by_device}{scaled}"))


def _log_note(made: Fusion, level: int = logging.INFO) -> Fusion:
    log.log(level, "preprocessing %s", made.note)
    return made


def compare(fused: FusedImages, processing: Any) -> str:
    """Run both on the probes and return in words how far they are apart at most. Raises Unlike above one
    level of 255.
    """
    probes = [(size, "RGB") for size in _PROBES]
    if not fused.plan.head and fused.plan.takes(1):
        probes.append((_PROBES[0], "L"))
    worst = 0.0
    for size, mode in probes:
        off = float(_levels_off(fused, processing, probe(size, mode)).max())
        if not off <= _ALLOWED:
            raise Unlike(
                f"it is {off:.2f} of 255 levels off its own transforms on a {mode} JPEG of {size[0]}x{size[1]}"
            )
        worst = max(worst, off)
    return f"at most {worst:.2f} of 255 levels off on {len(probes)} pictures"


def decode_on_device(fused: FusedImages, processing: Any, gpu_jpeg: Any) -> tuple[FusedImages, str]:
    """Return `fused` with JPEGs decoded by the device, if `gpu_jpeg` asks for that and it works, and a note about it.

    The model's author has asked for the device's pixels, which differ a little from the CPU's. They are refused only if
    they are those of another picture.
    """
    if gpu_jpeg is False:
        return fused, ""
    try:
        if gpu_jpeg is not True:
            raise Unlike(f"it must be true or false, not {gpu_jpeg!r}")
        if fused.plan.head or not fused.plan.takes(3):
            raise Unlike("the plan takes no coloured JPEG as it comes")
        strict = replace(fused, source=_insisted)
        off = torch.cat([_levels_off(strict, processing, probe(size, "RGB", "4:2:0")).flatten() for size in _PROBES])
        most, mean = float(off.max()), float(off.mean())
        if not mean <= _WILD:
            raise Unlike(f"the device's pixels are {mean:.2f} levels off on average")
    except Exception as error:  # noqa: BLE001  whatever a decoder says, the host decodes
        why = error if isinstance(error, Unlike | Undecoded) else f"{type(error).__name__}: {error}"
        return fused, f"; gpuJpeg has no effect: {why}"
    told = f"at most {most:.2f} and on average {mean:.2f} levels off on {len(_PROBES)} pictures of noise"
    return replace(fused, source=Picture.for_device), f"; JPEGs decoded by the device, {told}"


def decode_scaled(fused: FusedImages, processing: Any, approximate: Any) -> tuple[FusedImages, str]:
    """Return `fused` with large JPEGs decoded at a fraction of their size, if `approximate` allows it, and a note.

    The model's author has allowed for pixels that differ a little. They are refused only if they are those of another
    picture.
    """
    if approximate is False:
        return fused, ""
    try:
        if approximate is not True:
            raise Unlike(f"it must be true or false, not {str(approximate)[:80]!r}")
        if fused.source is not Picture.pixels:
            raise Unlike("the device decodes")
        if fused.plan.head or not fused.plan.takes(3) or fused.plan.fit.resize is None or fused.output is None:
            raise Unlike(
                "the plan does not begin with a Resize of a coloured picture, or its results have several sizes"
            )
        scaled = replace(fused, source=scaled_source(fused.plan.fit))
        made = [_levels_off(scaled, processing, each).flatten() for each in large_probes(fused.plan.fit)]
        if not made:
            raise Unlike("what it resizes to is too large to be tried")
        off = torch.cat(made)
        if not float(off.mean()) <= _WILD:
            raise Unlike(f"its pixels are {float(off.mean()):.2f} levels off on average")
    except Exception as error:  # noqa: BLE001  whatever it is, pictures are decoded whole
        why = error if isinstance(error, Unlike) else f"{type(error).__name__}: {error}"
        return fused, f"; approximateResize has no effect: {why}"
    told = f"at most {float(off.max()):.2f} and on average {float(off.mean()):.2f} levels off on {len(made)} pictures"
    return scaled, f"; large JPEGs decoded at a fraction of their size, {told}"


def _insisted(picture: Picture) -> Source:
    """Return a source that the device must decode: where it can't, an error is raised in place of decoding
    on the CPU.
    """
    source = picture.for_device()
    return replace(source, otherwise=_refused) if isinstance(source, Jpeg) else source


def _refused(why: Exception) -> torch.Tensor:
    raise why


def _levels_off(fused: FusedImages, processing: Any, encoded: bytes) -> torch.Tensor:
    """Return by how many levels of 255 each value of the plan's result is off the pipeline's."""
    image = Image.open(io.BytesIO(encoded))
    expected = torch.as_tensor(processing(Image.open(io.BytesIO(encoded))))
    answer = fused.batch([Picture(image, encoded)])
    if answer is None:
        raise Unlike(f"its head makes no plain image of an {image.mode} one")
    answer = answer[0].cpu()
    if (expected.shape, expected.dtype) != (answer.shape, answer.dtype):
        raise Unlike(
            f"it makes {answer.dtype} {list(answer.shape)} where its own transforms make"
            f" {expected.dtype} {list(expected.shape)}"
        )
    _, std = fused.plan.colours(answer.shape[0])
    scale = 255 * torch.tensor(std).abs().view(-1, 1, 1)
    return (answer - expected).abs() * scale


def picture() -> Picture:
    """Return the first of the probes as a Picture."""
    encoded = probe(_PROBES[0], "RGB")
    return Picture(Image.open(io.BytesIO(encoded)), encoded)


def probe(size: tuple[int, int], mode: str, subsampling: str = "4:4:4") -> bytes:
    """Return a JPEG of `size` (width, height) with an edge or some noise everywhere, the same for each call."""
    width, height = size
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    noise[: height // 2] = noise[: height // 2] >> 7 << 7
    made = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(made, "JPEG", quality=90, subsampling=subsampling)
    return made.getvalue()
