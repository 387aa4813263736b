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
