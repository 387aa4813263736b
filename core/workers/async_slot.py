"""AsyncSlot: the runner that a scheduler sees of a worker with an asynchronous handler, which runs many batches."""

from __future__ import annotations

from typing import Protocol

from ...scheduler.job import Batch, Job


class _Many(Protocol):
    """A worker that takes a batch while it runs others."""

    name: str
    device: str

    def run(self, batch: Batch) -> None: ...

    def interrupt(self, batch: Batch) -> None: ...

    def hold(self, job: Job) -> float: ...

    def release(self, job: Job) -> None: ...


class AsyncSlot:
    """A runner with room for one batch in such a worker; the worker attaches another one for the next batch."""

    __slots__ = ("_worker", "device", "name")

    def __init__(self, worker: _Many) -> None:
        self._worker = worker
        self.device = worker.device
        self.name = worker.name

    def run(self, batch: Batch) -> None:
        self._worker.run(batch)

    def hold(self, job: Job) -> float:
        """Have the worker wait for the client of `job`."""
        return self._worker.hold(job)

    def release(self, job: Job) -> None:
        """Stop waiting for the client of `job`."""
        self._worker.release(job)

    def interrupt(self, batch: Batch) -> None:
        """Have the handler end `batch`, the only one that this slot has."""
        self._worker.interrupt(batch)

    def batch_started(self, batch: Batch) -> None:
        raise AssertionError("it takes one batch in all")
