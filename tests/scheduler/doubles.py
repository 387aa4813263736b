"""Sinks, runners and clients that write down what happens to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from torchserve.scheduler.job import Batch, Job
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import BatchPolicy


class Nobody:
    """A sink and a runner that are never called: the batcher only passes them on."""

    def __init__(self, name: str = "", device: str = "cpu") -> None:
        self.name = name
        self.device = device

    def chunk(self, item: object) -> None:
        raise AssertionError

    def done(self, item: object) -> None:
        raise AssertionError

    def fail(self, error: Exception) -> None:
        raise AssertionError

    def run(self, batch: Batch) -> None:
        raise AssertionError

    def batch_started(self, batch: Batch) -> None:
        raise AssertionError


def job(name: str, arrived: float, expires: float | None = None, *, exclusive: bool = False, **more: Any) -> Job:
    return Job(name, None, Nobody(), arrived, expires, exclusive, **more)


class Sink:
    """Keeps what it is told, and raises where it is asked to."""

    def __init__(self, raises: str = "") -> None:
        self.heard: list[tuple[str, object]] = []
        self.raises = raises

    def _hear(self, verb: str, what: object) -> None:
        self.heard.append((verb, what))
        if verb == self.raises:
            raise OSError("the client has gone")

    def chunk(self, item: object) -> None:
        self._hear("chunk", item)

    def done(self, item: object) -> None:
        self._hear("done", item)

    def fail(self, error: Exception) -> None:
        self._hear("fail", error)


class Worker:
    """A runner that waits to be told how its batch ends."""

    name = "worker"
    device = "cpu"

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.begins: list[Batch] = []

    def run(self, batch: Batch) -> None:
        self.batches.append(batch)

    def batch_started(self, batch: Batch) -> None:
        self.begins.append(batch)

    @property
    def ids(self) -> list[str]:
        return ["".join(job.id for job in batch.jobs) for batch in self.batches]


class Instant(Worker):
    """A runner that answers before `run` returns."""

    def __init__(self, scheduler: ModelScheduler) -> None:
        super().__init__()
        self.scheduler = scheduler

    def run(self, batch: Batch) -> None:
        super().run(batch)
        self.scheduler.finish(batch, [job.payload for job in batch.jobs])


class Client:
    """Submits jobs named a, b, c, ... and keeps their sinks."""

    def __init__(self, scheduler: ModelScheduler) -> None:
        self.scheduler = scheduler
        self.sinks: dict[str, Sink] = {}
        self.jobs: dict[str, Job] = {}

    def send(self, names: Iterable[str], raises: str = "", **options: Any) -> None:
        for name in names:
            self.sinks[name] = Sink(raises)
            new = Job(name, name.upper(), self.sinks[name], **options)
            self.scheduler.submit(new)
            self.jobs[name] = new

    def heard(self, name: str) -> list[tuple[str, object]]:
        return self.sinks[name].heard


def setup(batch_size: int = 4, queue_size: int = 100, rule: str = "adaptive") -> tuple[ModelScheduler, Worker, Client]:
    scheduler = ModelScheduler(BatchPolicy(batch_size, 1.0, queue_size, rule))
    return scheduler, Worker(), Client(scheduler)


async def turn() -> None:
    """One iteration of the loop, in which what was scheduled in the last one happens."""
    await asyncio.sleep(0)
