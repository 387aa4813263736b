"""Memory that tells when a kernel touches what isn't its own: fenced pages on the CPU, guard bands on any device."""

from __future__ import annotations

import ctypes
import mmap

import torch
from torch import Tensor

_LIBC = ctypes.CDLL(None, use_errno=True)
_NO_ACCESS = 0  # PROT_NONE, which mmap has no name for
_BAND = 256  # bytes; keeps what lies after it as aligned as a fresh allocation


def span(tensor: Tensor) -> int:
    """Bytes from the first to the last element, gaps included."""
    if tensor.numel() == 0:
        return 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.itemsize


def laid(tensor: Tensor, room: Tensor) -> Tensor:
    """`tensor`, gaps and all, in `room`, which has just its bytes."""
    view = room.view(tensor.dtype).as_strided(tensor.shape, tensor.stride(), room.storage_offset() // tensor.itemsize)
    return view.copy_(tensor)


class Fences:
    """Each tensor in pages of its own, flush against a page no one may touch: before it or after it. Touching it kills."""

    def __init__(self, side: str) -> None:
        self.side = side

    def place(self, tensor: Tensor) -> Tensor:
        size = span(tensor)
        inner = -(-max(size, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        pages = mmap.mmap(-1, inner + 2 * mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        for fence in (start, start + mmap.PAGESIZE + inner):
            if _LIBC.mprotect(ctypes.c_void_p(fence), mmap.PAGESIZE, _NO_ACCESS):
                raise OSError(ctypes.get_errno(), "mprotect")
        first = mmap.PAGESIZE if self.side == "before" else mmap.PAGESIZE + inner - size
        return laid(tensor, torch.frombuffer(pages, dtype=torch.uint8)[first : first + size])

    def intact(self) -> bool:
        return True


class Bands:
    """Each tensor on `device` between two bands of bytes `fill`, which shows what was written there, and, by comparing
    two fills, what was read."""

    def __init__(self, device: str, fill: int) -> None:
        self.device, self.fill = device, fill
        self._bands: list[Tensor] = []

    def place(self, tensor: Tensor) -> Tensor:
        size = span(tensor)
        room = torch.full((size + 2 * _BAND,), self.fill, dtype=torch.uint8, device=self.device)
        self._bands += [room[:_BAND], room[_BAND + size :]]
        return laid(tensor, room[_BAND : _BAND + size])

    def intact(self) -> bool:
        return all(bool((band == self.fill).all()) for band in self._bands)
