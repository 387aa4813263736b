"""DataPlane: a prediction's way from a front door to the scheduler of the model version that it names."""

from __future__ import annotations

import math
from typing import Self

from ..scheduler.job import Job, Sink
from .errors import ServeError, ServerFull
from .models.model import Model
from .models.registry import Registry
from .payload import Payload, Scheduled
from .workers.back_pressure import Holds


class Ticket:
    """A request on its way. Its front door reports its end by exactly one of `answered`, `failed` and `cancel`."""

    __slots__ = ("_job", "_model", "_named", "_pending", "_size")

    def __init__(self, model: Model, job: Job, pending: Pending, size: int, *, named: bool) -> None:
        self._model = model
        self._job = job
        self._named = named
        self._pending = pending
        self._size = size

    def answered(self, seconds: float) -> None:
        """It succeeded, `seconds` after its head was read."""
        self._pending.held -= self._size
        job = self._job
        queued = 0.0 if job.started is None else job.started - job.arrived
        self._model.metrics.answered(seconds, queued, named=self._named)

    def scheduled(self) -> Scheduled | None:
        """When it ran, where, and in what company; None if it didn't."""
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
        """Have its worker wait, as its client has too much to take. Return for how many seconds more it may."""
        batch = self._job.batch
        return batch.runner.hold(self._job) if batch is not None and isinstance(batch.runner, Holds) else math.inf

    def release(self) -> None:
        """Have its worker wait no more."""
        batch = self._job.batch
        if batch is not None and isinstance(batch.runner, Holds):
            batch.runner.release(self._job)

    def failed(self, error: BaseException) -> None:
        """An error was the answer."""
        self._pending.held -= self._size
        self._model.metrics.failed(error)

    def cancel(self) -> None:
        """The client has gone: drop it if it still waits; if it runs, its result goes nowhere."""
        self._pending.held -= self._size
        self._model.metrics.cancelled(running=self._job.started is not None)
        self._model.scheduler.cancel(self._job)


class Pending:
    """Bytes of the bodies of all requests that have no answer yet, those included that are still arriving."""

    __slots__ = ("held", "most")

    def __init__(self, most: int) -> None:
        self.held = 0
        self.most = most

    def hold(self, size: int, own: int = 0) -> None:
        """Count `size` bytes more of a request of which `own` bytes are counted. Raises ServerFull."""
        others = self.held - own
        # One request by itself is bounded by max_request_size.
        if others and self.held + size > self.most:
            raise ServerFull(
                f"The server holds {others} bytes of requests and this one has {own + size}, which is more than"
                f" {self.most} (max_pending_bytes). Send it again later.",
                retry_after=1.0,  # any answer, of any model, makes room
            )
        self.held += size


class Arrival:
    """A context within which a request has its head here and its body on the way; `grow` counts what has come."""

    __slots__ = ("_model", "_named", "_own", "_pending")

    def __init__(self, pending: Pending, model: Model | None, *, named: bool) -> None:
        self._pending = pending
        self._model = model
        self._named = named
        self._own = 0

    def __enter__(self) -> Self:
        if self._model is not None:
            self._model.scheduler.body_started()
        return self

    def grow(self, size: int) -> None:
        """Count `size` bytes more that are held for it. Raises ServerFull."""
        try:
            self._pending.hold(size, self._own)
        except ServerFull as error:
            if self._model is not None:
                self._model.metrics.requested(named=self._named)
                self._model.metrics.failed(error)
            raise
        self._own += size

    def __exit__(self, *exc: object) -> None:
        self._pending.held -= self._own
        if self._model is not None:
            self._model.scheduler.body_finished()


class DataPlane:
    """All a front door needs for predictions. Every call is synchronous and cheap."""

    def __init__(self, registry: Registry, max_pending: int) -> None:
        """`max_pending` is in bytes."""
        self._registry = registry
        self._pending = Pending(max_pending)

    def startup_model(self) -> str | None:
        """The only model that was loaded at start, for requests that name none; None if there isn't just one."""
        names = {model.name for model in self._registry if model.at_startup}
        return names.pop() if len(names) == 1 else None

    def expect(self, model: str, version: str | None) -> Arrival:
        """Receive a body that is still arriving within this context: the batcher of its model knows of it, and what has
        come of it counts. Without a `model` it counts only. Raises ModelNotFound, VersionNotFound.
        """
        found = self._registry.get(model, version) if model else None
        return Arrival(self._pending, found, named=version is not None)

    def room(self, model: str, version: str | None, size: int) -> memoryview | None:
        """Where a body of that size that is still arriving is best received; None: wherever its reader likes."""
        return self._registry.get(model, version).room(size)

    def submit(self, model: str, version: str | None, payload: Payload, sink: Sink) -> Ticket:
        """Queue a prediction; the outcome goes to `sink`: chunk(Reply)*, then done(Reply) or fail(ServeError).

        Raises ModelNotFound, VersionNotFound, NoWorker, QueueFull, ServerFull, NotInTime, Draining.
        """
        found = self._registry.get(model, version)
        named = version is not None
        found.metrics.requested(named=named)
        parts = payload.parts
        size = len(parts[0].body) if len(parts) == 1 else sum([len(part.body) for part in parts])
        try:
            self._pending.hold(size)
        except ServerFull as error:
            found.metrics.failed(error)
            raise
        try:
            job = found.submit(payload, sink, named_version=named)
        except ServeError as error:
            self._pending.held -= size
            found.metrics.failed(error)
            raise
        return Ticket(found, job, self._pending, size, named=named)
