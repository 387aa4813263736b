"""Request ids: fresh UUID4 text. Randomness is read in blocks, which is several times faster than uuid4()."""

from __future__ import annotations

import os
from collections.abc import Iterator

_BLOCK = 256  # ids per read of the system's randomness
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def _ids() -> Iterator[str]:
    while True:
        digits = os.urandom(16 * _BLOCK).hex()
        for i in range(0, 32 * _BLOCK, 32):
            yield (
                f"{digits[i : i + 8]}-{digits[i + 8 : i + 12]}-4{digits[i + 13 : i + 16]}"
                f"-{_VARIANT[digits[i + 16]]}{digits[i + 17 : i + 20]}-{digits[i + 20 : i + 32]}"
            )


fresh_id = _ids().__next__
"""A new UUID4 as text. Not for use after a fork: both sides would hand out the same ids."""
