"""Ticket: a submitted request as its front door holds it; PendingBytes: the memory that all of them hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..scheduler.job import Job
from .errors import ServerFull
from .models.model import Model
from .payload import Scheduled
from .workers.back_pressure import Holds


class Ticket:
    """A submitted request. Its front door must report its end by exactly one of `succeeded`, `failed` and `cancel`."""

    __slots__ = ("_job", "_model", "_more", "_named", "_pending", "_size")

    def __init__(
        self, model: Model, job: Job, pending: PendingBytes, size: int, named: bool, more: Sequence[Job] = ()
    ) -> None:
        """`more` are the jobs of the request's other rows, if it was cut. Every request makes one: arguments that are
        named would double its cost.
        """
        self._model = model
        self._job = job
        self._named = named
        self._pending = pending
        self._size = size
        self._more = more

    @property
    def model(self) -> Model:
        """The model version that answers the request."""
        return self._model

    @property
    def job(self) -> Job:
        """The job, or the first of them if the request was cut."""
        return self._job

    @property
    def size(self) -> int:
        """The bytes that the request holds."""
        return self._size

    @property
    def named(self) -> bool:
        """Whether the request named the version."""
        return self._named

    def succeeded(self, seconds: float) -> None:
        """Record that the request succeeded, `seconds` after its head was read."""
        self._pending.held -= self._size
        job = self._job
        queued = 0.0 if job.started is None else job.started - job.arrived
        self._model.metrics.succeeded(seconds, queued, named=self._named)
        slow = self._model.options.slow_request
        if slow and seconds * 1e3 > slow:
            self._model.slow(job, seconds, "it was answered")

    def exemplar(self, seconds: float, trace_id: str) -> None:
        """Name the trace of a request that succeeded after `seconds`, as an example of such requests."""
        self._model.metrics.exemplar(seconds, trace_id)

    def scheduled(self) -> Scheduled | None:
        """Return when and where the request ran and in which batch, None if it has not run."""
        job = self._job
        batch, started = job.batch, job.started
        if batch is None or started is None:
            return None
        worker = batch.runner
        return Scheduled(
            started - job.arrived,
            len(batch.jobs),
            batch.reason.value,
            worker.name,
            worker.device,
            batch.handler_seconds,
        )

    def hold(self) -> float:
        """Have the worker wait because the client reads slowly. Return for how many more seconds it may wait."""
        batch = self._job.batch
        return batch.runner.hold(self._job) if batch is not None and isinstance(batch.runner, Holds) else math.inf

    def release(self) -> None:
        """Let the worker go on after `hold`."""
        batch = self._job.batch
        if batch is not None and isinstance(batch.runner, Holds):
            batch.runner.release(self._job)

    def failed(self, error: BaseException) -> None:
        """Record that the request failed with `error`."""
        self._pending.held -= self._size
        self._model.metrics.failed(error)
        self._tell_if_slow(f"it failed with {type(error).__name__}")

    def cancel(self) -> None:
        """Record that the client has gone, and cancel the job: a queued one is dropped, a running one's result is
        discarded.
        """
        self._pending.held -= self._size
        self._model.metrics.cancelled(running=self._job.started is not None)
        self._tell_if_slow("its client left")
        for job in (self._job, *self._more):
            self._model.scheduler.cancel(job)

    def _tell_if_slow(self, end: str) -> None:
        """Log a request that ends without an answer, if it took long since it was queued."""
        model, slow = self._model, self._model.options.slow_request
        if slow and (took := model.scheduler.now() - self._job.arrived) * 1e3 > slow:
            model.slow(self._job, took, end)


class PendingBytes:
    """A count of the bytes in the bodies of all unanswered requests, those still arriving included."""

    __slots__ = ("held", "most")

    def __init__(self, most: int) -> None:
        self.held = 0
        self.most = most

    def hold(self, size: int, own: int = 0) -> None:
        """Count `size` more bytes of a request, `own` of whose bytes are counted already. Raises ServerFull."""
        others = self.held - own
        # A request is never refused for its own bytes alone, which max_request_size bounds.
        if others and self.held + size > self.most:
            raise ServerFull(
                f"The server holds {others} bytes of requests and this one has {own + size}, which is more than"
                f" {self.most} (max_pending_bytes). Send it again later.",
                retry_after=1.0,  # each answer, of any model, makes room
            )
        self.held += size
