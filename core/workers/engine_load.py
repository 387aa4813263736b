"""EngineLoad: the bounds of a worker's engine, what it has reported of its load, and the requests that it has."""

from __future__ import annotations

from ...scheduler.job import Job
from ...scheduler.model_scheduler import ModelScheduler
from ...scheduler.tokens import EngineBounds
from ..payload import Payload
from ..wire.messages import Capacity, EngineReport
from .observer import WorkerObserver


class EngineLoad:
    """The load of a language model's engine in a worker, and the requests that the worker has."""

    def __init__(self, capacity: Capacity, scheduler: ModelScheduler, observer: WorkerObserver) -> None:
        self.bounds = EngineBounds(capacity.context, capacity.memory, capacity.step)
        self.running = 0
        self.waiting = 0
        self.memory = 0.0  # the part of the KV memory in use, 0 to 1
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self._scheduler = scheduler
        self._observer = observer
        self._jobs: dict[str, Job] = {}
        self._before_first: set[str] = set()  # the requests that have no token yet

    def begun(self, job: Job) -> None:
        """Note that the worker has got a request."""
        self._jobs[job.id] = job
        self._before_first.add(job.id)

    def over(self, job: Job) -> None:
        """Note that a request is answered."""
        self._jobs.pop(job.id, None)
        self._before_first.discard(job.id)

    def receive(self, report: EngineReport) -> None:
        """Take in what the engine has reported, and pass it on to the scheduler and the observer."""
        self.running, self.waiting, self.memory = report.running, report.waiting, report.memory
        self.prompt_tokens += report.prompt_tokens
        self.generation_tokens += report.generation_tokens
        now = self._scheduler.now()
        first_tokens: list[float] = []
        for request_id, prompt, generated in report.progress:
            job = self._jobs.get(request_id)
            if job is None:  # it was given up, or its client has left
                continue
            if request_id in self._before_first:
                self._before_first.discard(request_id)
                first_tokens.append(now - job.arrived)
            if isinstance(job.payload, Payload) and job.payload.trace is not None:
                job.payload.trace.generated(prompt, generated)
            self._scheduler.progress(job, prompt, generated)
        self._observer.generated(report, first_tokens)
