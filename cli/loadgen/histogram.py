"""Durations as counts in bins of a thousandth of their size: any number of them, added up across processes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_BITS = 10
_MASK = (1 << _BITS) - 1
_TAIL = 10  # readings beyond a quantile, below which it is one reading's accident


@dataclass(slots=True)
class Histogram:
    """Seconds go in and come out; a quantile is off by a thousandth at most."""

    bins: dict[int, int] = field(default_factory=dict)
    count: int = 0
    total: float = 0.0
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        """Negative ones count as none."""
        nanoseconds = int(seconds * 1e9) if seconds > 0 else 0
        shift = nanoseconds.bit_length() - _BITS
        place = nanoseconds if shift <= 0 else (shift << _BITS) + (nanoseconds >> shift)
        self.bins[place] = self.bins.get(place, 0) + 1
        self.count += 1
        self.total += seconds
        if seconds > self.longest:  # noqa: PLR1730  (a call of max costs a tenth of this)
            self.longest = seconds

    def merge(self, other: Histogram) -> None:
        """As if all of the other's readings had been added here."""
        for place, count in other.bins.items():
            self.bins[place] = self.bins.get(place, 0) + count
        self.count += other.count
        self.total += other.total
        self.longest = max(self.longest, other.longest)

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """The smallest reading that at least `share` of all readings don't exceed; None without readings."""
        wanted, seen = math.ceil(share * self.count), 0
        for place in sorted(self.bins):
            seen += self.bins[place]
            if seen >= wanted:
                return min(_middle(place) / 1e9, self.longest)
        return None

    def tail(self, share: float) -> float | None:
        """The quantile, where enough readings lie beyond it to mean something."""
        return self.quantile(share) if self.count * (1 - share) >= _TAIL - 1e-6 else None


def _middle(place: int) -> float:
    shift = place >> _BITS
    return float(place) if shift == 0 else ((place & _MASK) << shift) + (1 << shift) / 2
