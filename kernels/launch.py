"""How big a program is and how many there are: plain functions of sizes, nothing tuned at import. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass

_WARP = 32
_WIDEST_STORE = 16


@dataclass(frozen=True, slots=True)
class Launch:
    """`block` values a program (a power of two), computed by `warps` warps of 32 threads."""

    block: int
    warps: int

    def programs(self, values: int) -> int:
        """How many programs `values` values need."""
        return -(-values // self.block)


def one_store_a_thread(itemsize: int) -> Launch:
    """For kernels bound by memory: each thread ends in one 16-byte store of values of `itemsize` bytes (2 or 4).

    Four warps: small enough that one 224 x 224 image (150,528 values) is 147 programs of fp16, more than an H100 has
    multiprocessors (132). Twice the values a thread doesn't widen a store, and makes the compiler shuffle them through
    shared memory.
    """
    warps = 4
    return Launch(block=warps * _WARP * (_WIDEST_STORE // itemsize), warps=warps)


@dataclass(frozen=True, slots=True)
class Tiles:
    """An image of `height` by `width` cut into tiles of `rows` by `columns` pixels, each computed by `warps` warps."""

    height: int
    width: int
    rows: int
    columns: int
    warps: int

    @property
    def programs(self) -> int:
        """How many tiles an image has."""
        return -(-self.height // self.rows) * -(-self.width // self.columns)


def tile(height: int, width: int) -> Tiles:
    """For kernels that make a pixel of many: 4 pixels a thread, side by side, so that planes are stored 4 at a time.

    16 rows of 32 columns: neighbours read the same source pixels, which a square tile keeps in the cache best, and a
    224 x 224 image is 98 programs. 8 columns a thread store wider and take half as many registers again.
    """
    return Tiles(height, width, rows=16, columns=32, warps=4)


def a_row_a_program(values: int) -> Launch:
    """For kernels that reduce a row of `values`: all of it in one program, 8 values a thread where that is possible."""
    block = 1 << max(values - 1, 1).bit_length()
    return Launch(block=block, warps=min(max(block // (_WARP * 8), 1), 16))
