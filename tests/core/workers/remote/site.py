"""A front's side of remote workers in this process, with nodes that are child processes, and a model that obeys."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from torchserve.core.payload import Part, Payload
from torchserve.core.tracing.request_trace import RequestTrace
from torchserve.core.wire.messages import Load
from torchserve.core.workers.observer import WorkerObserver
from torchserve.core.workers.remote.placer import Demand
from torchserve.core.workers.remote.remote_process import RemoteProcess
from torchserve.core.workers.remote.remote_start import RemoteStart
from torchserve.core.workers.remote.remote_workers import RemoteWorkers
from torchserve.core.workers.worker import Worker
from torchserve.core.workers.worker_spec import WorkerSpec
from torchserve.scheduler.job import Job
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import BatchPolicy

from ...doubles import Sink
from .child_placer import ChildPlacer

LONG = 3600.0  # seconds
# "hold PATH" waits for the file; any other text is answered by itself, the process's id and a variable.
HANDLER = """
import os, pathlib, time

def handle(data, context):
    if data is None:
        return None
    answers = []
    for row in data:
        text = bytes(row["body"]).decode()
        if text.startswith("hold "):
            path = pathlib.Path(text.removeprefix("hold "))
            path.with_name(path.name + ".reached").touch()
            while not path.exists():
                time.sleep(0.005)
        print("ran", text[:20], flush=True)
        answers.append(f"{text} by {os.getpid()} {os.environ.get('HIDDEN')} {os.environ.get('SAID')}")
    return answers
"""


class Observer:
    """An observer that keeps what workers print."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Site:
    """The remote workers of one front. `beat` and `grace` are short, so that what they are for happens soon."""

    def __init__(self, folder: Path, *, encrypted: bool = True, beat: float = 5.0, grace: float = 0.5) -> None:
        self.model_dir = folder / "model"
        self.model_dir.mkdir()
        (self.model_dir / "handler.py").write_text(HANDLER)
        self.cache = folder / "cache"
        self.placer = ChildPlacer(self.cache)
        self.workers = RemoteWorkers(self.placer, encrypted=encrypted, beat=beat, grace=grace)
        self.scheduler = ModelScheduler(BatchPolicy(batch_size=2, max_batch_delay=0.0, queue_size=100))
        self.observer = Observer()
        self.made: list[Worker] = []

    def process(self, name: str = "W-9000-m_1.0") -> RemoteProcess:
        start = RemoteStart(
            worker=name, model_dir=self.model_dir, demand=Demand(), hidden="HID.*", variables={"SAID": "this"}
        )
        return self.workers.spawn(start, lambda _, line: self.observer.lines.append(line))

    async def worker(self, name: str = "W-9000-m_1.0", *, idempotent: bool = False) -> Worker:
        """Return a worker that serves."""
        worker = self.around(self.process(name), name, idempotent=idempotent)
        await worker.load(LONG, LONG)
        worker.open()
        return worker

    def around(self, process: RemoteProcess, name: str = "W-9000-m_1.0", *, idempotent: bool = False) -> Worker:
        """Return the worker of a process, which it starts when it is told to load."""
        load = Load("m", "1.0", str(self.model_dir), "handler.py", 2)
        spec = WorkerSpec(name, load, LONG, idempotent=idempotent)
        worker = Worker(spec, process, self.scheduler, cast("WorkerObserver", self.observer))
        self.made.append(worker)
        process.evacuate = worker.evacuate
        return worker

    def submit(self, text: str | bytes, trace: RequestTrace | None = None) -> Sink:
        """Queue a request, and return what gets its answer."""
        sink = Sink()
        body = text.encode() if isinstance(text, str) else text
        payload = Payload("r", (Part("body", "application/octet-stream", body),), {}, trace=trace)
        self.scheduler.submit(Job("r", payload, sink))
        return sink

    async def answer(self, text: str) -> Any:
        sink = self.submit(text)
        async with asyncio.timeout(60):
            await sink.told.wait()
        return sink.outcome

    async def close(self) -> None:
        for worker in self.made:
            await worker.stop(0.0)
        await self.workers.close()
