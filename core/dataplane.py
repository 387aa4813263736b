"""DataPlane: takes predictions from the front doors to the scheduler of the model version that each names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import monotonic
from typing import Self

from msgspec.structs import replace

from ..scheduler.job import Job, Sink
from .errors import ServeError, ServerFull
from .models.model import Model
from .models.registry import Registry
from .models.rows import RowJoin, cut
from .models.traffic import Traffic
from .models.traffic_sinks import Watched
from .payload import Payload, Scheduled
from .workers.back_pressure import Holds

_LAST = 9  # the priority of what is served behind all else


class Ticket:
    """A submitted request. Its front door must report its end by exactly one of `succeeded`, `failed` and `cancel`."""

    __slots__ = ("_job", "_model", "_more", "_named", "_pending", "_size")

    def __init__(
        self, model: Model, job: Job, pending: PendingBytes, size: int, *, named: bool, more: Sequence[Job] = ()
    ) -> None:
        """`more` are the jobs of the request's other rows, if it was cut."""
        self._model = model
        self._job = job
        self._named = named
        self._pending = pending
        self._size = size
        self._more = more

    def succeeded(self, seconds: float) -> None:
        """Record that the request succeeded, `seconds` after its head was read."""
        self._pending.held -= self._size
        job = self._job
        queued = 0.0 if job.started is None else job.started - job.arrived
        self._model.metrics.succeeded(seconds, queued, named=self._named)

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

    def cancel(self) -> None:
        """Record that the client has gone, and cancel the job: a queued one is dropped, a running one's result is
        discarded.
        """
        self._pending.held -= self._size
        self._model.metrics.cancelled(running=self._job.started is not None)
        for job in (self._job, *self._more):
            self._model.scheduler.cancel(job)


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


class Arrival:
    """A context in which the body of a request arrives after its head. `grow` counts the bytes that have come."""

    __slots__ = ("_model", "_named", "_own", "_pending")

    def __init__(self, pending: PendingBytes, model: Model | None, *, named: bool) -> None:
        self._pending = pending
        self._model = model
        self._named = named
        self._own = 0

    def __enter__(self) -> Self:
        if self._model is not None:
            self._model.scheduler.body_started()
        return self

    def grow(self, size: int) -> None:
        """Count `size` more bytes that are held for this request. Raises ServerFull."""
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
    """The interface through which front doors make predictions. Every call is synchronous and cheap."""

    def __init__(self, registry: Registry, max_pending: int) -> None:
        """`max_pending` is in bytes."""
        self._registry = registry
        self._pending = PendingBytes(max_pending)

    def startup_model(self) -> str | None:
        """Return the only model that was loaded at start, for requests that name none; None unless there is exactly
        one.
        """
        names = {model.name for model in self._registry if model.at_startup}
        return names.pop() if len(names) == 1 else None

    def aliases(self) -> dict[str, str]:
        """Return the model that serves under each alias, the adapters of language models among them."""
        return self._registry.aliases()

    def expect(self, model: str, version: str | None) -> Arrival:
        """Return a context in which to receive a body: its model's batcher knows of it, and its bytes are counted.

        If `model` is empty, the bytes are only counted. Raises ModelNotFound, VersionNotFound.
        """
        found = self._registry.get(model, version) if model else None
        if version is None and model in self._registry.traffic:
            found = None  # which version the body is for shows when it is whole
        return Arrival(self._pending, found, named=version is not None)

    def stateful(self, model: str, version: str | None) -> bool:
        """Return whether a model's requests belong to sequences. Raises ModelNotFound, VersionNotFound."""
        return self._registry.get(model, version).options.stateful is not None

    def room(self, model: str, version: str | None, size: int) -> memoryview | None:
        """Return the memory to receive a body of `size` bytes into, None if the reader may choose. Raises
        ModelNotFound, VersionNotFound.
        """
        found = self._registry.get(model, version)
        # The memory is one version's, and which version the body is for shows when it is whole.
        return None if version is None and model in self._registry.traffic else found.room(size)

    def submit(self, model: str, version: str | None, payload: Payload, sink: Sink) -> Ticket:
        """Queue a prediction; the outcome goes to `sink`: chunk(Reply)*, then done(Reply) or fail(ServeError).

        `model` may be an alias, such as the name of an adapter.

        Raises ModelNotFound, VersionNotFound, NoWorker, QueueFull, ServerFull, NotInTime, Draining.
        """
        registry = self._registry
        watched = None
        if registry.traffic and version is None and (traffic := registry.traffic.get(model)) is not None:
            found = registry.steered(model, traffic.choose(payload.headers))
            sink = watched = Watched(sink, traffic, found.version, monotonic)
        else:
            found = registry.serving(model, version)
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
            job, *more = self._queue(found, payload, sink, named=named)
        except ServeError as error:
            self._pending.held -= size
            found.metrics.failed(error)
            if watched is not None:
                watched.refused(error)
            raise
        if watched is not None:
            self._copy(registry.traffic[model], watched, payload, size)
        return Ticket(found, job, self._pending, size, named=named, more=more)

    def _copy(self, traffic: Traffic, watched: Watched, payload: Payload, size: int) -> None:
        """Give the shadow a copy of a request that was queued, if it is to get one. Nothing of this is the client's."""
        version = traffic.copy_to()
        if version is None:
            return
        shadow = self._registry.steered(traffic.model, version)
        crowded = 2 * (self._pending.held + size) > self._pending.most
        if shadow.version != version or crowded:  # it is not there, or clients may need the memory
            traffic.copy_ended()
            traffic.compared("dropped")
            return
        copy = watched.copied()
        try:
            self._queue(shadow, replace(payload, priority=_LAST), copy, named=True)
        except ServeError as error:
            copy.fail(error)

    @staticmethod
    def _queue(model: Model, payload: Payload, sink: Sink, *, named: bool) -> list[Job]:
        """Queue a request, or each row of one by itself if its model declares that. Return the jobs."""
        count = model.rows_to_cut(payload)
        if count == 1:
            return [model.submit(payload, sink, named_version=named)]
        jobs: list[Job] = []

        def cancel_all() -> None:
            for job in jobs:
                model.scheduler.cancel(job)

        join = RowJoin(sink, count, cancel_all)
        try:
            for row, row_sink in zip(cut(payload, count), join.sinks, strict=True):
                jobs.append(model.submit(row, row_sink, named_version=named))
        except ServeError:
            join.over = True
            cancel_all()
            raise
        return jobs
