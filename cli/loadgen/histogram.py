"""A histogram of durations with a relative error of a thousandth.

Its size does not depend on the number of readings, and histograms of several processes can be added up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_BITS = 10
_MASK = (1 << _BITS) - 1
_TAIL = 10  # readings that must lie beyond a quantile for it to be reported


@dataclass(slots=True)
class Histogram:
    """A histogram of durations in seconds. A quantile is off by a thousandth of its value at most."""

    bins: dict[int, int] = field(default_factory=dict)
    count: int = 0
    total: float = 0.0
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        """Add a reading. A negative one counts as zero."""
        nanoseconds = int(seconds * 1e9) if seconds > 0 else 0
        shift = nanoseconds.bit_length() - _BITS
        place = nanoseconds if shift <= 0 else (shift << _BITS) + (nanoseconds >> shift)
        self.bins[place] = self.bins.get(place, 0) + 1
        self.count += 1
        self.total += seconds
        if seconds > self.longest:  # noqa: PLR1730  (a call of max costs a tenth of this)
            self.longest = seconds

    def merge(self, other: Histogram) -> None:
        """Add all readings of `other`."""
        for place, count in other.bins.items():
            self.bins[place] = self.bins.get(place, 0) + count
        self.count += other.count
        self.total += other.total
        self.longest = max(self.longest, other.longest)

    @property
    def mean(self) -> float | None:
        """Return the mean in seconds, or None without readings."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """Return the smallest reading that at least the share `share` of all readings does not exceed, or None without
        readings.
        """
        wanted, seen = math.ceil(share * self.count), 0
        for place in sorted(self.bins):
            seen += self.bins[place]
            if seen >= wanted:
                return min(_middle(place) / 1e9, self.longest)
        return None

    def tail(self, share: float) -> float | None:
        """Return the quantile, or None if fewer than _TAIL readings lie beyond it: it would be one
        reading's accident.
        """
        return self.quantile(share) if self.count * (1 - share) >= _TAIL - 1e-6 else None


def _middle(place: int) -> float:
    shift = place >> _BITS
    return float(place) if shift == 0 else ((place & _MASK) << shift) + (1 << shift) / 2
