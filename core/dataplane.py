"""DataPlane: takes predictions from the front doors to the scheduler of the model version that each names."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Self

from msgspec.structs import replace

from ..scheduler.job import Job, Sink
from .cached_requests import CachedRequests
from .errors import ServeError, ServerFull
from .models.model import Model
from .models.registry import Registry
from .models.rows import RowJoin, cut
from .models.traffic import Traffic
from .models.traffic_sinks import Watched
from .payload import Payload
from .ticket import PendingBytes, Ticket

_LAST = 9  # the priority of what is served behind all else


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
        self._cached = CachedRequests(self._pending, self._begin)

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
        registry, pending = self._registry, self._pending
        traffic = watched = None
        if registry.traffic and version is None and (traffic := registry.traffic.get(model)) is not None:
            found = registry.steered(model, traffic.choose(payload.headers))
        else:
            found = registry.serving(model, version)
        named = version is not None
        if found.payload_log is not None:
            sink = found.payload_log.watch(payload, sink)
        if found.on_demand is not None:
            sink = found.on_demand.watch(sink)
        if found.cache is not None:
            return self._cached.submit(found, payload, sink, named=named, traffic=traffic)
        if traffic is not None:
            sink = watched = Watched(sink, traffic, found.version, monotonic)
        metrics, parts = found.metrics, payload.parts
        metrics.requested(named=named)
        size = len(parts[0].body) if len(parts) == 1 else sum([len(part.body) for part in parts])
        if pending.held + size <= pending.most:
            pending.held += size
        else:
            try:
                pending.hold(size)
            except ServerFull as error:
                metrics.failed(error)
                raise
        more: Sequence[Job] = ()
        try:
            if payload.infer is None or found.rows_to_cut(payload) == 1:
                job = found.submit(payload, sink, named_version=named)
            else:
                job, *more = self._queue(found, payload, sink, named=named)
        except ServeError as error:
            pending.held -= size
            metrics.failed(error)
            if watched is not None:
                watched.refused(error)
            raise
        if traffic is not None and watched is not None:
            self._copy(traffic, watched, payload, size)
        return Ticket(found, job, pending, size, named, more)

    # A workflow's nodes and a handler's calls are parts of a request that has been admitted as a whole.
    submit_admitted = submit

    def admit(self, model: str, payload: Payload) -> object | None:
        """Count a request to `model` against its client's limits, if there are any. `ended` must be called with what is
        returned, unless that is None. Raises ClientLimited.
        """
        return None

    def ended(self, admitted: object) -> None:
        """Note that an admitted request has ended."""

    def keep(self, size: int) -> None:
        """Count `size` more bytes that a request holds between its parts, or less if negative. Raises ServerFull."""
        if size > 0:
            self._pending.hold(size)
        else:
            self._pending.held += size

    def _begin(self, model: Model, payload: Payload, sink: Sink, named: bool, traffic: Traffic | None) -> list[Job]:
        """Queue a request whose answer may be kept, as `submit` does others. Return its jobs. Raises ServeError."""
        if traffic is None:
            return self._queue(model, payload, sink, named=named)
        watched = Watched(sink, traffic, model.version, monotonic)
        try:
            jobs = self._queue(model, payload, watched, named=named)
        except ServeError as error:
            watched.refused(error)
            raise
        self._copy(traffic, watched, payload, sum([len(part.body) for part in payload.parts]))
        return jobs

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
            self._queue(shadow, replace(payload, priority=_LAST, trace=None), copy, named=True)
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
