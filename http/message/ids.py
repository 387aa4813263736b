"""Request ids: fresh UUID4 text, many times faster than uuid4()."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from uuid import UUID

_ENDS = tuple([f"{number:02x}" for number in range(256)])


def _runs() -> Iterator[Iterator[str]]:
    """Yield runs of ids, whose beginnings are drawn at random and whose last two digits count up."""
    while True:
        begin = str(UUID(bytes=os.urandom(16), version=4))[:-2]
        yield map(begin.__add__, _ENDS)


fresh_id = chain.from_iterable(_runs()).__next__
"""Returns a new UUID4 as text. After a fork both processes would return the same ids."""
