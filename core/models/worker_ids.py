"""WorkerIds: the numbers in the workers' names, never used twice while the server lives."""

from __future__ import annotations

import itertools


class WorkerIds:
    """Counts from the setting initial_worker_port, as TorchServe's ports did."""

    def __init__(self, first: int) -> None:
        self._count = itertools.count(first)

    def next(self) -> int:
        return next(self._count)
