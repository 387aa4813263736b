"""When a warm-up is over. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WINDOWS = 3


@dataclass(frozen=True, slots=True)
class Window:
    """A window of the warm-up: correct answers per second, and their median latency in seconds."""

    rate: float
    median: float | None


def steady(windows: Sequence[Window], tolerance: float) -> bool:
    """Return whether the last three windows agree in rate and in median, each within `tolerance` times their mean."""
    last = windows[-WINDOWS:]
    medians = [window.median for window in last if window.median is not None]
    if len(last) < WINDOWS or len(medians) < WINDOWS:
        return False
    return _agree([window.rate for window in last], tolerance) and _agree(medians, tolerance)


def _agree(values: Sequence[float], tolerance: float) -> bool:
    mean = sum(values) / len(values)
    return all(abs(value - mean) <= tolerance * mean for value in values)
