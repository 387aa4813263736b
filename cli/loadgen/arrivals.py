"""Schedules: iterators of the times at which requests are due, in ascending seconds from the start.

All are endless, except a recorded trace.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path


def poisson(rate: float, seed: int) -> Iterator[float]:
    """Yield Poisson arrivals, `rate` per second."""
    draw = random.Random(seed)  # noqa: S311  (no secret)
    at = 0.0
    while True:
        at += draw.expovariate(rate)
        yield at


def bursty(rate: float, seed: int, *, swing: float = 0.75, sojourn: float = 0.4) -> Iterator[float]:
    """Yield a Markov-modulated Poisson process (MMPP).

    The rate alternates between (1 + swing) and (1 - swing) times `rate`, each for an exponentially distributed time
    whose mean is `sojourn` seconds.
    """
    draw = random.Random(seed)  # noqa: S311  (no secret)
    at, busy, until = 0.0, True, 0.0
    while True:
        if at >= until:
            busy, until = not busy, at + draw.expovariate(1.0 / sojourn)
        step = draw.expovariate(rate * (1.0 + swing if busy else 1.0 - swing))
        if at + step > until:
            at = until  # the process is memoryless, so the next step is drawn again at the new rate
            continue
        at += step
        yield at


def spike(rate: float, seed: int, begin: float, end: float, *, factor: float = 2.0) -> Iterator[float]:
    """Yield Poisson arrivals at `rate` per second, and at `factor` times that between the seconds `begin` and `end`."""
    draw = random.Random(seed)  # noqa: S311  (no secret)
    at = 0.0
    while True:
        edge = begin if at < begin else end if at < end else math.inf
        step = draw.expovariate(rate * (factor if begin <= at < end else 1.0))
        if at + step >= edge:
            at = edge  # memoryless, as in bursty()
            continue
        at += step
        yield at


def recorded(path: Path, rate: float) -> Iterator[float]:
    """Yield the arrivals of a trace, scaled in time so that their mean rate is `rate` per second.

    The file holds one time in seconds per line. Raises OSError, and ValueError for a file without two different times.
    """
    times = sorted(float(line) for line in path.read_text().split())
    if len(times) < 2 or times[-1] == times[0]:
        raise ValueError(f"{path}: a trace needs at least two arrivals at different times, one a line, in seconds")
    pace = (len(times) - 1) / (times[-1] - times[0]) / rate
    for each in times:
        yield (each - times[0]) * pace
