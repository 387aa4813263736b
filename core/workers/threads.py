"""How many threads a worker computes with, so that workers and front end do not fight over the cores.

OpenMP's threads spin while they wait for each other: two of them on one core make a small model fifty times slower.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of this container, where control groups v2 are in use


def threads_per_worker(workers: int, cores: float) -> int:
    """An equal share of all cores but one, which is the front end's; at least 1."""
    return max(1, math.floor(cores - 1) // max(1, workers))


def available_cores() -> float:
    """Cores this process may use, by its affinity and by its container's quota, which may be a fraction."""
    cores = float(len(os.sched_getaffinity(0)))
    with suppress(OSError, ValueError):
        cores = min(cores, parse_quota(_QUOTA.read_text()))
    return cores


def parse_quota(text: str) -> float:
    """Cores out of cpu.max: `200000 100000` is 2, `max 100000` is no limit. Raises ValueError."""
    quota, _, period = text.partition(" ")
    if quota == "max":
        return math.inf
    cores = int(quota) / int(period) if int(period) else 0.0
    if cores <= 0:
        raise ValueError(f"not a CPU quota: {text!r}")
    return cores
