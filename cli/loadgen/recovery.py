"""How long a spike is felt after it is over. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_ENOUGH = 0.99


def recovery(by_second: Mapping[int, Sequence[int]], end: int, last: int) -> int | None:
    """Seconds from `end`, when the spike is over, until nearly all requests of every second up to `last` are good.

    None if that has not come. `by_second`: how many requests were due in a second, and how many of them were good.
    """
    for second in range(last - 1, end - 1, -1):
        due, good = by_second.get(second, (0, 0))
        if good < _ENOUGH * due:
            return None if second == last - 1 else second + 1 - end
    return 0
