"""BuddyAllocator: which parts of a shared memory are taken, without touching the memory. May import nothing.

The memory is divided into blocks of powers of two. A block that is too large is halved, and the halves are "buddies":
once both are free they are joined again. A block lies at a multiple of its own size, so the offset of a block's buddy
differs from its own in one bit, the block's size.
"""

from __future__ import annotations

from typing import Final

MIN_BLOCK: Final = 1 << 16  # bytes; a smaller body goes over the socket


def block_size(size: int) -> int:
    """Return the bytes of the block that a body of `size` bytes takes."""
    return max(MIN_BLOCK, 1 << (size - 1).bit_length())


class BuddyAllocator:
    """An allocator of a memory of `size` bytes, a power of two and at least MIN_BLOCK."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._allocated: dict[int, int] = {}  # offset -> size of the block
        # Size -> offsets of the free blocks of that size, in the order in which they were freed.
        self._free: dict[int, dict[int, None]] = {MIN_BLOCK << n: {} for n in range((size // MIN_BLOCK).bit_length())}
        self._free[size][0] = None

    def allocate(self, size: int) -> int | None:
        """Return the offset of a block for `size` bytes; None if there is no room.

        The block is the smallest free one that fits, and of these the latest freed: the processor has its pages still.
        """
        wanted = found = block_size(size)
        while not self._free.get(found):
            if found >= self.size:
                return None
            found *= 2
        offset, _ = self._free[found].popitem()
        while found > wanted:
            found //= 2
            self._free[found][offset + found] = None
        self._allocated[offset] = wanted
        return offset

    def free(self, offset: int) -> None:
        """Free the block at `offset`. Raises KeyError if none is allocated there."""
        size = self._allocated.pop(offset)
        while size < self.size and (offset ^ size) in self._free[size]:
            del self._free[size][offset ^ size]
            offset &= ~size
            size *= 2
        self._free[size][offset] = None

    @property
    def allocated(self) -> int:
        """The number of allocated blocks."""
        return len(self._allocated)

    def free_blocks(self) -> list[tuple[int, int]]:
        """Return (offset, size) of every free block."""
        return [(offset, size) for size, offsets in self._free.items() for offset in offsets]
