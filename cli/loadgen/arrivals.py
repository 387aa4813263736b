"""When requests come: seconds from the start, ascending, for ever or until a trace ends."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path


def poisson(rate: float, seed: int) -> Iterator[float]:
    """Independent arrivals, `rate` a second."""
    draw = random.Random(seed)  # noqa: S311  (no secret)
    at = 0.0
    while True:
        at += draw.expovariate(rate)
        yield at


def bursty(rate: float, seed: int, *, swing: float = 0.75, sojourn: float = 0.4) -> Iterator[float]:
    """Poisson in turns of (1 + swing) and (1 - swing) times `rate`, each for `sojourn` seconds in the mean (MMPP)."""
    draw = random.Random(seed)  # noqa: S311  (no secret)
    at, busy, until = 0.0, True, 0.0
    while True:
        if at >= until:
            busy, until = not busy, at + draw.expovariate(1.0 / sojourn)
        step = draw.expovariate(rate * (1.0 + swing if busy else 1.0 - swing))
        if at + step > until:
            at = until  # memoryless: what would have come later is drawn anew at the other rate
            continue
        at += step
        yield at


def spike(rate: float, seed: int, begin: float, end: float, *, factor: float = 2.0) -> Iterator[float]:
    """Poisson at `rate`, and at `factor` times that from `begin` to `end`."""
    draw = random.Random(seed)  # noqa: S311  (no secret)
    at = 0.0
    while True:
        edge = begin if at < begin else end if at < end else math.inf
        step = draw.expovariate(rate * (factor if begin <= at < end else 1.0))
        if at + step >= edge:
            at = edge  # memoryless, as above
            continue
        at += step
        yield at


def recorded(path: Path, rate: float) -> Iterator[float]:
    """A trace of one arrival a line, in seconds, squeezed or stretched to `rate` a second."""
    times = sorted(float(line) for line in path.read_text().split())
    if len(times) < 2 or times[-1] == times[0]:
        raise ValueError(f"{path}: a trace needs at least two arrivals at different times, one a line, in seconds")
    pace = (len(times) - 1) / (times[-1] - times[0]) / rate
    for each in times:
        yield (each - times[0]) * pace
