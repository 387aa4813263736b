"""DataPlane: a prediction's way from a front door to the scheduler of the model version that it names."""

from __future__ import annotations

from ..scheduler.job import Job, Sink
from .errors import ServeError, ServerFull
from .models.model import Model
from .models.registry import Registry
from .payload import Payload, Scheduled


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

    def failed(self, error: BaseException) -> None:
        """An error was the answer."""
        self._pending.held -= self._size
        self._model.metrics.failed(error)

    def cancel(self) -> None:
        """The client has gone: drop it if it still waits; if it runs, its result goes nowhere."""
        self._pending.held -= self._size
        self._model.metrics.cancelled(running=self._job.started is not None)
        self._model.scheduler.cancel(self._job)


class Arrival:
    """Within this context a request for the model has its head here, and its body on the way."""

    __slots__ = ("_model",)

    def __init__(self, model: Model) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._model.scheduler.body_started()

    def __exit__(self, *exc: object) -> None:
        self._model.scheduler.body_finished()


class Pending:
    """Bytes of the bodies that are held for requests without an answer, in all models."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0


class DataPlane:
    """All a front door needs for predictions. Every call is synchronous and cheap."""

    def __init__(self, registry: Registry, max_pending: int) -> None:
        """`max_pending` is in bytes."""
        self._registry = registry
        self._max_pending = max_pending
        self._pending = Pending()

    def startup_model(self) -> str | None:
        """The only model that was loaded at start, for requests that name none; None if there isn't just one."""
        names = {model.name for model in self._registry if model.at_startup}
        return names.pop() if len(names) == 1 else None

    def expect(self, model: str, version: str | None) -> Arrival:
        """Tell the batcher of a request whose body is still arriving. Raises ModelNotFound, VersionNotFound."""
        return Arrival(self._registry.get(model, version))

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
        held = self._pending.held
        try:
            # One request by itself is bounded by max_request_size.
            if held and held + size > self._max_pending:
                raise ServerFull(
                    f"The server holds {held} bytes of requests and this one has {size}, which is more than"
                    f" {self._max_pending} (max_pending_bytes). Send it again later."
                )
            job = found.submit(payload, sink, named_version=named)
        except ServeError as error:
            found.metrics.failed(error)
            raise
        self._pending.held = held + size
        return Ticket(found, job, self._pending, size, named=named)
