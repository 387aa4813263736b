"""Arena: which bytes of a shared memory are taken, without the memory: blocks of powers of two, by halving and joining.

A block lies at a multiple of its own span. May import nothing.
"""

from __future__ import annotations

from typing import Final

LEAST: Final = 1 << 16  # bytes; a body under this goes over the socket


def span(size: int) -> int:
    """What a body of `size` bytes takes."""
    return max(LEAST, 1 << (size - 1).bit_length())


class Arena:
    """`size` is a power of two, and at least LEAST."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._taken: dict[int, int] = {}  # span by offset
        self._free: dict[int, dict[int, None]] = {LEAST << n: {} for n in range((size // LEAST).bit_length())}
        self._free[size][0] = None

    def take(self, size: int) -> int | None:
        """The offset of a block for `size` bytes; None where there is no room. Of those that fit it is the smallest,
        and of these the latest given back, whose pages the processor still has.
        """
        wanted = found = span(size)
        while not self._free.get(found):
            if found >= self.size:
                return None
            found *= 2
        offset, _ = self._free[found].popitem()
        while found > wanted:
            found //= 2
            self._free[found][offset + found] = None
        self._taken[offset] = wanted
        return offset

    def give(self, offset: int) -> None:
        """The block at `offset` is free again. Raises KeyError if none is taken there."""
        freed = self._taken.pop(offset)
        while freed < self.size and (offset ^ freed) in self._free[freed]:
            del self._free[freed][offset ^ freed]
            offset &= ~freed
            freed *= 2
        self._free[freed][offset] = None

    @property
    def taken(self) -> int:
        """How many blocks are taken."""
        return len(self._taken)

    def free(self) -> list[tuple[int, int]]:
        """(offset, span) of all that is not taken."""
        return [(offset, each) for each, offsets in self._free.items() for offset in offsets]
