"""The sizes and numbers of programs that kernels are launched with, by plain functions. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass

_WARP = 32
_WIDEST_STORE = 16


@dataclass(frozen=True, slots=True)
class Launch:
    """A launch in which each program computes `block` values (a power of two) by `warps` warps of 32 threads."""

    block: int
    warps: int

    def programs(self, values: int) -> int:
        """Return how many programs `values` values need."""
        return -(-values // self.block)


def one_store_a_thread(itemsize: int) -> Launch:
    """Return the launch of a kernel bound by memory: each thread stores 16 bytes, of values of `itemsize` (2 or 4).

    Four warps: small enough that one 224 x 224 image (150,528 values) is 147 programs of fp16, more than an H100 has
    multiprocessors (132). Twice the values a thread doesn't widen a store, and makes the compiler shuffle them through
    shared memory.
    """
    warps = 4
    return Launch(block=warps * _WARP * (_WIDEST_STORE // itemsize), warps=warps)


@dataclass(frozen=True, slots=True)
class Tiles:
    """An image of `height` by `width`, cut into tiles of `rows` by `columns` pixels, each computed by `warps` warps."""

    height: int
    width: int
    rows: int
    columns: int
    warps: int

    @property
    def programs(self) -> int:
        """The number of tiles of an image."""
        return -(-self.height // self.rows) * -(-self.width // self.columns)


def tile(height: int, width: int) -> Tiles:
    """Return the tiles of a kernel that makes a pixel of many: 4 pixels a thread, side by side, stored together.

    16 rows of 32 columns: neighbours read the same source pixels, which a square tile keeps in the cache best, and a
    224 x 224 image is 98 programs. 8 columns a thread store wider and take half as many registers again.
    """
    return Tiles(height, width, rows=16, columns=32, warps=4)


def a_row_a_program(values: int) -> Launch:
    """Return the launch of a kernel that reduces a row of `values` in one program, 8 values a thread if possible."""
    block = 1 << max(values - 1, 1).bit_length()
    return Launch(block=block, warps=min(max(block // (_WARP * 8), 1), 16))
