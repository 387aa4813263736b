"""AsyncSlot: the runner that a scheduler sees of a worker with an asynchronous handler, which runs many batches.

Opening: how a worker lets a scheduler know that it has room for a batch.
"""

from __future__ import annotations

from typing import Final, Protocol

from ...scheduler.job import Batch, Job, Runner
from ...scheduler.model_scheduler import ModelScheduler

MOST_RUNS: Final = 1000  # requests at a time in one worker with an asynchronous handler; the others wait in the queue


class Many(Runner, Protocol):
    """A worker that takes a batch while it runs others."""

    def interrupt(self, batch: Batch) -> None: ...

    def hold(self, job: Job) -> float: ...

    def release(self, job: Job) -> None: ...


class AsyncSlot:
    """A runner with room for one batch in such a worker; the worker attaches another one for the next batch."""

    __slots__ = ("_worker", "device", "name")

    def __init__(self, worker: Many) -> None:
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


class Opening:
    """The runner that a worker has attached to its scheduler.

    That is the worker itself: for one batch after the other or, if it generates text, for as many as the scheduler
    gives it by their tokens. Of a worker with another asynchronous handler it is a slot for one more batch.
    """

    def __init__(self, worker: Many, scheduler: ModelScheduler, *, by_slots: bool) -> None:
        self._worker = worker
        self._scheduler = scheduler
        self._by_slots = by_slots
        self._runner: Runner = worker

    def open(self) -> None:
        """Attach a runner."""
        if self._by_slots:
            self._runner = AsyncSlot(self._worker)
        self._scheduler.attach(self._runner, once=self._by_slots)

    def close(self) -> None:
        """Take no more batches."""
        self._scheduler.detach(self._runner)

    def taken(self, batch: Batch, runs: int) -> None:
        """Note that the worker has got `batch`, and has so many now."""
        if self._by_slots:
            self._scheduler.detach(batch.runner)
            if runs < MOST_RUNS:
                self.open()

    def freed(self, runs: int) -> None:
        """Note that one of the batches that the worker has, so many until now, has ended."""
        if self._by_slots and runs == MOST_RUNS:
            self.open()
