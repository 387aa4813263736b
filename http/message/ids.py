"""Request ids: fresh UUID4 text, many times faster than uuid4()."""

from __future__ import annotations

import os
from collections.abc import Iterator
from uuid import UUID

_ENDS = tuple([f"{number:02x}" for number in range(256)])


def _ids() -> Iterator[str]:
    """Yield ids in runs, whose beginnings are drawn at random and whose last two digits count up."""
    while True:
        begin = str(UUID(bytes=os.urandom(16), version=4))[:-2]
        for end in _ENDS:
            yield begin + end


fresh_id = _ids().__next__
"""Returns a new UUID4 as text. After a fork both processes would return the same ids."""
