"""ImagePipeline: pictures to a normalised batch on a GPU, and answers back, while the GPU works on others.

What waits for what: the host before it fills a pinned buffer again; a copy to the device until the batch before it in
that buffer has been read; the kernel for its copy; the download for the model; who asks for an answer for the download.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .op import runs_triton
from .resize_normalize.frame import Fit, Frame, one_size, packed
from .resize_normalize.op import RESIZE_NORMALIZE, resize_normalize
from .resize_normalize.taps import needed, tables

IN_FLIGHT = 2
_ALIGNED = 256
_LEAST = 1 << 20  # bytes: small batches don't make a buffer grow step by step


@dataclass
class _Slot:
    """A pinned buffer, its twin on the device, and when each was last used."""

    pinned: Tensor
    device: Tensor
    uploaded: Any
    read: Any


@dataclass(frozen=True)
class Pending:
    """An answer on its way: `value` is on the host, and means nothing before `wait`."""

    value: Tensor
    arrived: Any
    source: Tensor
    """Kept, so that its memory on the device is nobody else's before it has been read."""

    def wait(self) -> Tensor:
        self.arrived.synchronize()
        return self.value


class ImagePipeline:
    """For one device; `launch` is the kernel, and None where it can't run. Any thread may use it."""

    def __init__(self, device: torch.device, launch: Callable[..., None] | None = None) -> None:
        self.device = device
        self._launch = launch if launch is not None else _kernel(device)
        self._lock = threading.Lock()
        self._copying = torch.cuda.Stream(device)
        self._returning = torch.cuda.Stream(device)
        self._slots = [self._slot(_LEAST) for _ in range(IN_FLIGHT)]
        self._batches = 0

    def batch(
        self,
        pictures: Sequence[Tensor],
        fit: Fit,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        filter: str = "bilinear",  # noqa: A002  that is what it is
        fill: int = 0,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Tensor:
        """`resize_normalize` of pictures on the host, on the current stream of the device; returns before it is done.

        Of each picture only the part that is needed is sent. The pictures may change as soon as this returns.
        Raises ValueError for pictures that come out in several sizes.
        """
        channels = len(mean)
        frames = [fit.frame((picture.shape[0], picture.shape[1])) for picture in pictures]
        parts = packed([replace(frame, part=needed(frame, filter)) for frame in frames], channels)
        shape = (len(pictures), channels, *one_size(parts, fit))
        out = torch.empty(shape, dtype=dtype, device=self.device, memory_format=memory_format)
        if not out.numel():
            return out
        with self._lock:
            slot, described, taps, pixels = self._upload(pictures, parts, channels, filter)
            if self._launch is not None:
                self._launch(pixels, described, taps, fill, mean, std, out=out)
            else:
                RESIZE_NORMALIZE.reference(pixels, parts, filter, fill, mean, std, out=out)
            slot.read.record(torch.cuda.current_stream(self.device))
        return out

    def download(self, answer: Tensor) -> Pending:
        """`answer`, which the current stream is to make, on its way to the host."""
        value = torch.empty(answer.shape, dtype=answer.dtype, pin_memory=True)
        made, arrived = torch.cuda.Event(), torch.cuda.Event()
        made.record(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._returning):
            self._returning.wait_event(made)
            value.copy_(answer, non_blocking=True)
            arrived.record(self._returning)
        return Pending(value, arrived, answer)

    def _upload(
        self, pictures: Sequence[Tensor], frames: tuple[Frame, ...], channels: int, name: str
    ) -> tuple[_Slot, Tensor, Tensor, Tensor]:
        """The tables and the pictures' parts, on their way in one copy; the current stream waits for it."""
        described, taps = tables(frames, channels, name)
        first = described.nbytes
        start = -(-(first + taps.nbytes) // _ALIGNED) * _ALIGNED
        last = frames[-1]
        size = start + last.offset + last.stored[0] * last.stored[1] * channels
        slot = self._next(size)
        host = slot.pinned
        host[:first].copy_(torch.from_numpy(described).view(torch.uint8).view(-1))
        host[first : first + taps.nbytes].copy_(torch.from_numpy(taps).view(torch.uint8))
        for picture, frame in zip(pictures, frames, strict=True):
            assert frame.part is not None
            top, left, height, width = frame.part
            place = host[start + frame.offset :][: height * width * channels].view(height, width, channels)
            place.copy_(picture[top : top + height, left : left + width])
        with torch.cuda.stream(self._copying):
            self._copying.wait_event(slot.read)
            slot.device[:size].copy_(host[:size], non_blocking=True)
            slot.uploaded.record(self._copying)
        torch.cuda.current_stream(self.device).wait_event(slot.uploaded)
        there = slot.device
        return (
            slot,
            there[:first].view(torch.int64),
            there[first : first + taps.nbytes].view(torch.int32),
            there[start:size],
        )

    def _next(self, size: int) -> _Slot:
        """The slot whose turn it is, large enough, and its pinned buffer free again."""
        number = self._batches % IN_FLIGHT
        self._batches += 1
        slot = self._slots[number]
        slot.uploaded.synchronize()
        if slot.pinned.numel() < size:
            slot.read.synchronize()  # the buffers are let go: nothing may be left to read them
            slot = self._slots[number] = self._slot(1 << (size - 1).bit_length())
        return slot

    def _slot(self, size: int) -> _Slot:
        pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        device = torch.empty(size, dtype=torch.uint8, device=self.device)
        slot = _Slot(pinned, device, torch.cuda.Event(), torch.cuda.Event())
        slot.read.record(torch.cuda.current_stream(self.device))  # whose memory this was may still be at work there
        return slot


def prepare(
    pictures: Sequence[Tensor],
    fit: Fit,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    filter: str,  # noqa: A002  that is what it is
    device: torch.device,
) -> Tensor:
    """`resize_normalize` of pictures on the host for a model on `device`, in the way that is best there."""
    if device.type == "cuda":
        return _pipeline(device).batch(pictures, fit, mean, std, filter=filter)
    return resize_normalize(pictures, fit, mean, std, filter=filter).to(device)


@cache
def _pipeline(device: torch.device) -> ImagePipeline:
    return ImagePipeline(device)


def _kernel(device: torch.device) -> Callable[..., None] | None:
    if not runs_triton(device):
        return None
    from .resize_normalize.fused import launch  # triton takes a while to import

    def on_its_device(*arguments: Any, out: Tensor) -> None:
        with torch.cuda.device(device):  # Triton launches on the current device, whatever its arguments say
            launch(*arguments, out=out)

    return on_its_device
