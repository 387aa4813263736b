"""ImagePipeline: pictures to a normalised batch on a GPU, and answers back, while the GPU works on other batches.

Two batches are in flight, each with a slot: a pinned buffer on the host and its twin on the device. Copies to the
device, the kernel and the model, and copies back run on three streams. What waits for what:

    host fills the pinned buffer    waits for    the previous upload from that buffer        (uploaded.synchronize)
    upload to the device            waits for    the kernel that read the previous batch     (read)
    kernel, then the model          wait for     the upload                                  (uploaded)
    download of the answer          waits for    the model                                   (made)
    Pending.wait()                  waits for    the download                                (arrived)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .graphs import Graphs, Unrecorded, answered
from .jpeg import Decode, Source, Undecoded, decoded, nvjpeg, on_host
from .load import Load, placed
from .op import runs_triton
from .resize_normalize.frame import Fit, Frame, Size, one_size
from .resize_normalize.op import RESIZE_NORMALIZE, resize_normalize
from .resize_normalize.taps import FIELDS

IN_FLIGHT = 2
_LEAST = 1 << 20  # bytes: small batches don't make a buffer grow step by step
_ROOM = 2 << 20  # bytes for each picture of a graph's batch: what is needed of one of 1920 x 1080 is 3 MB, of most 0.3


@dataclass
class _Slot:
    """A pinned buffer, its twin on the device, and the events of when each was last used."""

    pinned: Tensor
    device: Tensor
    uploaded: Any
    read: Any
    decoded: list[Tensor] = field(default_factory=list)
    """Decoded pictures, kept until they are known to be in `device`: the decoder reuses memory and doesn't wait."""


@dataclass(frozen=True)
class Pending:
    """An answer on its way to the host: `value` means nothing before `wait`."""

    value: Tensor
    arrived: Any
    source: Tensor
    """The answer on the device, kept so that its memory is not reused before it has been read."""

    def wait(self) -> Tensor:
        """Block until the answer has arrived, and return it."""
        self.arrived.synchronize()
        return self.value


class ImagePipeline:
    """A pipeline to and from one device. Any thread may use it.

    `launch` is the kernel; it is None if that can't run on the device, and the reference runs instead.
    """

    def __init__(
        self, device: torch.device, launch: Callable[..., None] | None = None, decode: Decode = nvjpeg
    ) -> None:
        self.device = device
        self._decode = decode
        self.launch = launch if launch is not None else _kernel(device)
        self._lock = threading.Lock()
        self._copying = torch.cuda.Stream(device)
        self._returning = torch.cuda.Stream(device)
        self._slots = [self._slot(_LEAST) for _ in range(IN_FLIGHT)]
        self._batches = 0

    def batch(
        self,
        pictures: Sequence[Source],
        fit: Fit,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        filter: str = "bilinear",  # noqa: A002  that is what it is
        fill: int = 0,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Tensor:
        """Return `resize_normalize` of pictures, made on the device's current stream; this returns before it is done.

        Of each picture on the host only the needed part is sent. The pictures may change as soon as this returns.
        Raises ValueError for pictures that come out in several sizes.
        """
        channels = len(mean)
        parts = placed(pictures, fit, channels, filter)
        shape = (len(pictures), channels, *one_size(parts, fit))
        out = torch.empty(shape, dtype=dtype, device=self.device, memory_format=memory_format)
        if not out.numel():
            return out
        load = Load.of(parts, channels, filter, len(pictures))
        pixels, there = self._decoded(pictures)
        with self._lock:
            slot = self._upload(pixels, there, parts, load)
            source = slot.device[: load.size]
            if self.launch is not None:
                described, taps = _described(source, len(pictures)), slot.device.view(torch.int32)
                self.launch(source, described, taps, fill, mean, std, out=out)
            else:
                RESIZE_NORMALIZE.reference(source[load.start :], parts, filter, fill, mean, std, out=out)
            slot.read.record(torch.cuda.current_stream(self.device))
        return out

    def record(
        self,
        output: Size,
        mean: Sequence[float],
        std: Sequence[float],
        sizes: Sequence[int],
        model: Callable[[Tensor], Any],
    ) -> Graphs:
        """Record the kernel and `model` as one graph for each of `sizes` pictures of `output` pixels.

        The answers are pairs of the batch and what the model makes of it. Raises Unrecorded.
        """
        if self.launch is None:
            raise Unrecorded("the kernel doesn't run on this device")
        launch = self.launch

        def work(source: Tensor, rows: int) -> Any:
            batch = torch.empty((rows, len(mean), *output), device=self.device)
            launch(source, _described(source, rows), source.view(torch.int32), 0, mean, std, out=batch)
            return batch, model(batch)

        return Graphs(torch.zeros(_ROOM * max(sizes), dtype=torch.uint8, device=self.device), sizes, work)

    def answers(
        self,
        graphs: Graphs,
        pictures: Sequence[Source],
        fit: Fit,
        channels: int,
        *,
        filter: str,  # noqa: A002
    ) -> tuple[Tensor, Any] | None:
        """Return the batch and the model's answers by the graphs of `record`; None if the batch is too large."""
        rows = graphs.size(len(pictures))
        if rows is None or not pictures:
            return None
        parts = placed(pictures, fit, channels, filter)
        load = Load.of(parts, channels, filter, rows)
        if load.size > graphs.source.numel():
            return None
        pixels, there = self._decoded(pictures)
        with self._lock:
            slot = self._upload(pixels, there, parts, load)

            def fill(source: Tensor) -> None:
                source[: load.size].copy_(slot.device[: load.size], non_blocking=True)
                slot.read.record(torch.cuda.current_stream(self.device))

            return graphs.run(len(pictures), fill)

    def download(self, answer: Tensor) -> Pending:
        """Send `answer`, which the current stream is making, on its way to the host."""
        value = torch.empty(answer.shape, dtype=answer.dtype, pin_memory=True)
        made, arrived = torch.cuda.Event(), torch.cuda.Event()
        made.record(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._returning):
            self._returning.wait_event(made)
            value.copy_(answer, non_blocking=True)
            arrived.record(self._returning)
        return Pending(value, arrived, answer)

    def _decoded(self, pictures: Sequence[Source]) -> tuple[list[Tensor], frozenset[int]]:
        """Decode on the copying stream, which reads the pixels: so only it and the decoder use their memory."""
        with torch.cuda.stream(self._copying):
            return decoded(pictures, self.device, self._decode)

    def _upload(self, pixels: Sequence[Tensor], there: Container[int], frames: tuple[Frame, ...], load: Load) -> _Slot:
        """Send the tables and the pictures' parts on their way, those of the host in one copy.

        The current stream waits for that; return the slot that holds them.
        """
        slot = self._next(load.size)
        host, sent = slot.pinned, load.start
        first, last = load.described.nbytes, load.described.nbytes + load.taps.nbytes
        host[:first].copy_(torch.from_numpy(load.described).view(torch.uint8).view(-1))
        host[first:last].copy_(torch.from_numpy(load.taps).view(torch.uint8))
        on_device: list[tuple[Tensor, Tensor]] = []
        for number, (picture, frame) in enumerate(zip(pixels, frames, strict=True)):
            assert frame.part is not None
            top, left, height, width = frame.part
            part = picture[top : top + height, left : left + width]
            place = slice(load.start + frame.offset, load.start + frame.offset + part.numel())
            if number in there:
                on_device.append((slot.device[place].view(part.shape), part))
            else:
                host[place].view(part.shape).copy_(part)
                sent = max(sent, place.stop)
        slot.decoded = [part for _, part in on_device]
        with torch.cuda.stream(self._copying):
            self._copying.wait_event(slot.read)
            slot.device[:sent].copy_(host[:sent], non_blocking=True)
            for target, part in on_device:
                target.copy_(part, non_blocking=True)
            slot.uploaded.record(self._copying)
        torch.cuda.current_stream(self.device).wait_event(slot.uploaded)
        return slot

    def _next(self, size: int) -> _Slot:
        """Return the slot whose turn it is, once its pinned buffer is free again, with room for `size` bytes."""
        number = self._batches % IN_FLIGHT
        self._batches += 1
        slot = self._slots[number]
        slot.uploaded.synchronize()
        if slot.pinned.numel() < size:
            slot.read.synchronize()  # the buffers are freed: nothing may still read them
            slot = self._slots[number] = self._slot(1 << (size - 1).bit_length())
        return slot

    def _slot(self, size: int) -> _Slot:
        """Return a new slot of `size` bytes."""
        pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        device = torch.empty(size, dtype=torch.uint8, device=self.device)
        slot = _Slot(pinned, device, torch.cuda.Event(), torch.cuda.Event())
        slot.read.record(torch.cuda.current_stream(self.device))  # what had this memory before may still use it
        return slot


def _described(buffer: Tensor, rows: int) -> Tensor:
    """Return the table of frames at the buffer's beginning."""
    return buffer[: rows * FIELDS * 8].view(torch.int64)


def prepare(
    pictures: Sequence[Source],
    fit: Fit,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    filter: str,  # noqa: A002  that is what it is
    device: torch.device,
    graphs: Graphs | None = None,
) -> Tensor:
    """Return `resize_normalize` of pictures for a model on `device`, made in the way that is best there.

    With `graphs`, from `record_images`, the model's answer is made in the same go and attached: `answer_of(batch)`.
    """
    if device.type != "cuda":
        pixels = on_host(pictures, Undecoded(f"the model runs on {device.type}"))
        return resize_normalize(pixels, fit, mean, std, filter=filter).to(device)
    pipeline = _pipeline(device)
    made = pipeline.answers(graphs, pictures, fit, len(mean), filter=filter) if graphs is not None else None
    return answered(*made) if made is not None else pipeline.batch(pictures, fit, mean, std, filter=filter)


def record_images(
    device: torch.device,
    output: Size,
    mean: Sequence[float],
    std: Sequence[float],
    sizes: Sequence[int],
    model: Callable[[Tensor], Any],
) -> Graphs:
    """Record the graphs that `prepare` takes. Raises Unrecorded."""
    if device.type != "cuda":
        raise Unrecorded(f"the model runs on {device.type}")
    return _pipeline(device).record(output, mean, std, sizes, model)


@cache
def _pipeline(device: torch.device) -> ImagePipeline:
    return ImagePipeline(device)


def _kernel(device: torch.device) -> Callable[..., None] | None:
    """Return the fused kernel's launch on `device`; None if triton doesn't run there."""
    if not runs_triton(device):
        return None
    from .resize_normalize.fused import launch  # triton takes a while to import

    def on_its_device(*arguments: Any, out: Tensor) -> None:
        with torch.cuda.device(device):  # Triton launches on the current device, whatever its arguments say
            launch(*arguments, out=out)

    return on_its_device
