"""Series: the numbers behind one line of metrics: Counter, Gauge, Reading, and Histogram behind several lines.

Plain numbers without locks: they are changed on the event loop only, and may be read from any thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Protocol


class Series(Protocol):
    """What a family can show; `update` does what the kind of metric does with a new value, `update_all` with some."""

    def update(self, value: float, /) -> None: ...
    def update_all(self, values: Sequence[float], /) -> None: ...


class Counter:
    """A sum. `update` adds; the caller sees to it that it never falls."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def update(self, value: float, /) -> None:
        self.value += value

    def update_all(self, values: Sequence[float], /) -> None:
        self.value += sum(values)


class Gauge:
    """The last value."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def update(self, value: float, /) -> None:
        self.value = value

    def update_all(self, values: Sequence[float], /) -> None:
        self.value = values[-1] if values else self.value


class Reading:
    """A gauge that is read when it is shown, and costs nothing before."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read

    @property
    def value(self) -> float:
        return self._read()

    def update(self, value: float, /) -> None:
        """A reading has no value of its own."""

    def update_all(self, values: Sequence[float], /) -> None:
        """As above."""


class Histogram:
    """How many values fell into each bucket, and their sum. `bounds` are the upper ends, ascending, without +Inf."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def update(self, value: float, /) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def update_all(self, values: Sequence[float], /) -> None:
        counts, bounds = self.counts, self._bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.sum += sum(values)


class Nothing:
    """In place of a series that the metrics configuration leaves out."""

    __slots__ = ()

    def update(self, value: float, /) -> None:
        """It is not counted."""

    def update_all(self, values: Sequence[float], /) -> None:
        """As above."""


NOTHING = Nothing()
