"""WorkerIds: the numbers in workers' names, never used twice while the server runs."""

from __future__ import annotations

import itertools


class WorkerIds:
    """A counter from the setting initial_worker_port on, as TorchServe's worker ports."""

    def __init__(self, first: int) -> None:
        self._count = itertools.count(first)

    def next(self) -> int:
        return next(self._count)
