"""How many threads a worker computes with, and how they wait, so that workers and front end don't compete for cores.

OpenMP's threads spin while they wait for each other: if another process has one of two cores, a model that computes
with both becomes forty times slower. So a worker starts with the cores that the front end leaves, and its threads soon
sleep.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

# How often a thread checks before it sleeps, about 20 us. That costs nothing on an idle machine, and a model on shared
# cores takes 30 ms, instead of 500 ms with libgomp's own 300,000.
_SPINS = "5000"


@dataclass(frozen=True, slots=True)
class Threads:
    """The thread counts of a worker: `few` leave a core to the front end, `most` are its whole share of the cores."""

    few: int
    most: int

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables to add to a worker's environment, so that it computes with `few` and knows `most`.

        Variables that are set already are left to whoever set them.
        """
        added: dict[str, str] = {}
        if "OMP_NUM_THREADS" not in environment:
            added = {"OMP_NUM_THREADS": str(self.few), "TS_WORKER_CORES": str(self.most)}
        if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environment.keys():
            added["GOMP_SPINCOUNT"] = _SPINS
        return added


def threads_per_worker(workers: int, cores: float) -> Threads:
    """Return equal shares of the cores, at least 1 for each worker."""
    workers = max(1, workers)
    return Threads(max(1, math.floor(cores - 1) // workers), max(1, math.floor(cores) // workers))
