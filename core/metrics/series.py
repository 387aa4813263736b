"""The series behind the lines of metrics: Counter, Gauge, Reading, and Histogram, which has several lines.

They are plain numbers without locks: changed on the event loop only, and readable from any thread.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Protocol


class Series(Protocol):
    """A series of a family; `update` does what its kind of metric does with a new value, `update_all` with several."""

    def update(self, value: float, /) -> None: ...
    def update_all(self, values: Sequence[float], /) -> None: ...


class Counter:
    """A sum. `update` adds to it; the caller must not add negative values."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def update(self, value: float, /) -> None:
        self.value += value

    def update_all(self, values: Sequence[float], /) -> None:
        self.value += sum(values)


class Gauge:
    """A series that holds the last value."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def update(self, value: float, /) -> None:
        self.value = value

    def update_all(self, values: Sequence[float], /) -> None:
        self.value = values[-1] if values else self.value


class Reading:
    """A gauge whose value is read by a function when it is shown."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read

    @property
    def value(self) -> float:
        return self._read()

    def update(self, value: float, /) -> None:
        """Do nothing: the value is read, never set."""

    def update_all(self, values: Sequence[float], /) -> None:
        """Do nothing, as `update`."""


class Histogram:
    """A count of the values in each bucket, and their sum. `bounds` are the upper ends, ascending, without +Inf."""

    __slots__ = ("_bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.exemplars: dict[int, tuple[str, float, float]] = {}  # by bucket: trace id, value, seconds since the epoch
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def update(self, value: float, /) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def update_all(self, values: Sequence[float], /) -> None:
        counts, bounds = self.counts, self._bounds
        if len(values) > 2 * len(bounds):  # then looking for the bounds among the values takes a third of the time
            below, ordered = 0, sorted(values)
            for bucket, bound in enumerate(bounds):
                upto = bisect_right(ordered, bound)
                counts[bucket] += upto - below
                below = upto
            counts[-1] += len(ordered) - below
        else:
            for value in values:
                counts[bisect_left(bounds, value)] += 1
        self.sum += sum(values)

    def exemplify(self, value: float, trace_id: str, now: float) -> None:
        """Name the trace of a value that was or will be counted. The last one of each bucket is kept."""
        self.exemplars[bisect_left(self._bounds, value)] = trace_id, value, now


class Nothing:
    """A stand-in for a series that the metrics configuration leaves out."""

    __slots__ = ()

    def update(self, value: float, /) -> None:
        """Do nothing."""

    def update_all(self, values: Sequence[float], /) -> None:
        """Do nothing."""


NOTHING = Nothing()
