"""How long a server takes to recover from a spike. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_ENOUGH = 0.99


def recovery(by_second: Mapping[int, Sequence[int]], end: int, last: int) -> int | None:
    """Return the whole seconds from `end` until at least 99 % of the requests of each second up to `last` were good.

    Return None if the last second is not good. `end` is when the spike was over. `by_second` maps each second to the
    number of requests that were due in it and the number of them that were answered within the SLO.
    """
    for second in range(last - 1, end - 1, -1):
        due, good = by_second.get(second, (0, 0))
        if good < _ENOUGH * due:
            return None if second == last - 1 else second + 1 - end
    return 0
