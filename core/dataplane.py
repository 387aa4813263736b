"""DataPlane: a prediction's way from a front door to the lane of the model version that it names."""

from __future__ import annotations

from ..scheduler.job import Job, Sink
from .models.model import Model
from .models.registry import Registry
from .payload import Payload


class Ticket:
    """A request on its way; what its front door may ask about it, or do to it."""

    __slots__ = ("_job", "_model")

    def __init__(self, model: Model, job: Job) -> None:
        self._model = model
        self._job = job

    @property
    def queue_us(self) -> float:
        """Microseconds from its arrival until a worker got it; 0 while it waits."""
        job = self._job
        return 0.0 if job.started is None else (job.started - job.arrived) * 1e6

    def cancel(self) -> None:
        """The client has gone: drop it if it still waits; if it runs, its result goes nowhere."""
        self._model.lane.cancel(self._job)


class Arrival:
    """Within this context a request for the model has its head here, and its body on the way."""

    __slots__ = ("_model",)

    def __init__(self, model: Model) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._model.lane.announce()

    def __exit__(self, *exc: object) -> None:
        self._model.lane.retract()


class DataPlane:
    """All a front door needs for predictions. Every call is synchronous and cheap."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def expect(self, model: str, version: str | None) -> Arrival:
        """Tell the batcher of a request whose body is still arriving. Raises ModelNotFound, VersionNotFound."""
        return Arrival(self._registry.get(model, version))

    def submit(self, model: str, version: str | None, payload: Payload, sink: Sink) -> Ticket:
        """Queue a prediction; the outcome goes to `sink`: chunk(Reply)*, then done(Reply) or fail(ServeError).

        Raises ModelNotFound, VersionNotFound, NoWorker, QueueFull, Draining.
        """
        found = self._registry.get(model, version)
        return Ticket(found, found.submit(payload, sink, named_version=version is not None))
