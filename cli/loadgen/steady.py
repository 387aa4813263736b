"""When a warm-up is over: the last windows agree. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WINDOWS = 3


@dataclass(frozen=True, slots=True)
class Window:
    """Right answers a second, and their median latency in seconds, of a stretch of the warm-up."""

    rate: float
    median: float | None


def steady(windows: Sequence[Window], tolerance: float) -> bool:
    """Whether the last three windows agree in rate and in median: each within `tolerance` of their mean."""
    last = windows[-WINDOWS:]
    medians = [window.median for window in last if window.median is not None]
    if len(last) < WINDOWS or len(medians) < WINDOWS:
        return False
    return _agree([window.rate for window in last], tolerance) and _agree(medians, tolerance)


def _agree(values: Sequence[float], tolerance: float) -> bool:
    mean = sum(values) / len(values)
    return all(abs(value - mean) <= tolerance * mean for value in values)
