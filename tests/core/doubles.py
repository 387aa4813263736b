"""Sinks, workers' places and models for tests of core: everything is real that needs no second process."""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from torchserve.core.archive.manifest import Manifest
from torchserve.core.archive.reader import Archive
from torchserve.core.archive.store import Located
from torchserve.core.config.model_options import ModelOptions
from torchserve.core.config.settings import Settings
from torchserve.core.gpus.gpu_allocator import GpuAllocator
from torchserve.core.metrics.store import MetricStore
from torchserve.core.models.model import Model
from torchserve.core.models.model_spec import ModelSpec, SharedParts
from torchserve.core.models.worker_ids import WorkerIds
from torchserve.core.payload import Payload, Reply
from torchserve.core.workers.memory import resident
from torchserve.core.workers.pool import SlotState, WorkerSlot
from torchserve.core.workers.worker import Worker
from torchserve.scheduler.devices import Gpu
from torchserve.scheduler.job import Batch
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.virtual_time import VirtualLoop

CPU_ONLY = Settings(number_of_gpu=0)


class Sink:
    """Keeps what it is told; `told` is set with the outcome."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.told = asyncio.Event()

    def chunk(self, item: object) -> None:
        self.heard.append(("chunk", item))

    def done(self, item: object) -> None:
        self.heard.append(("done", item))
        self.told.set()

    def fail(self, error: Exception) -> None:
        self.heard.append(("fail", error))
        self.told.set()

    @property
    def outcome(self) -> Any:
        ((_, item),) = self.heard
        return item


async def until(true: Callable[[], object], timeout: float = 60.0) -> None:
    """Poll until `true()` holds."""
    async with asyncio.timeout(timeout):
        while not true():
            await asyncio.sleep(0.005)


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a loop where sleeping costs nothing, and hanging fails."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


class Nobody:
    """A runner that is never given anything."""

    name = "runner"
    device = "cpu"

    def run(self, batch: Batch) -> None:
        raise AssertionError

    def batch_started(self, batch: Batch) -> None:
        raise AssertionError


class Answering:
    """A scheduler's runner that answers each batch on the loop's next turn with what `answer` makes of a payload."""

    name = "runner"
    device = "cpu"

    def __init__(self, scheduler: ModelScheduler, answer: Callable[[Payload], Reply | Exception]) -> None:
        self.scheduler = scheduler
        self.answer = answer
        self.batches: list[list[Payload]] = []
        scheduler.attach(self)

    def run(self, batch: Batch) -> None:
        payloads = [cast(Payload, job.payload) for job in batch.jobs]
        self.batches.append(payloads)
        outcomes = [self.answer(payload) for payload in payloads]
        asyncio.get_running_loop().call_soon(self.scheduler.finish, batch, outcomes)

    def batch_started(self, batch: Batch) -> None:
        """It was given it already, and answers all in their order."""


def model(name: str = "m", version: str = "1.0", *, settings: Settings = CPU_ONLY, **options: Any) -> Model:
    """A model without workers; needs a running loop."""
    spec = ModelSpec(
        name=name,
        version=version,
        located=Located(f"{name}.mar", Path(f"{name}.mar"), f"{name}.mar"),
        archive=Archive(Path(f"{name}.mar"), Manifest(), Path("/nowhere"), None, None),
        handler="handler.py",
        runtime="python",
        options=ModelOptions(**options),
    )
    return Model(spec, SharedParts(settings, GpuAllocator(0), WorkerIds(9000), MetricStore()))


def slot(
    number: int = 9000,
    state: SlotState = SlotState.READY,
    *,
    last_error: str = "",
    gpu: Gpu | None = None,
    started_at: float | None = None,
    pid: int | None = None,
    notes: dict[str, str] | None = None,
) -> WorkerSlot:
    """A worker's place; with `started_at` a worker is in it, which is this very process unless `pid` says otherwise."""
    made = WorkerSlot(number, f"W-{number}-m_1.0", asyncio.get_running_loop().create_future(), state)
    made.last_error = last_error
    made.gpus = (gpu,) if gpu is not None else ()
    if started_at is not None:
        pid = os.getpid() if pid is None else pid
        process = SimpleNamespace(pids=[pid], memory=resident(pid), where="", gpus=0.0)
        made.worker = cast(
            Worker, SimpleNamespace(started_at=started_at, process=process, failed=None, notes=notes or {}, engine=None)
        )
    return made


def folder(store: Path, name: str, code: str = "", config: str | None = None, **manifest: Any) -> Path:
    """An archive as a folder of the store; `manifest` is the manifest's model part, its name and handler by default."""
    made = store / name
    (made / "MAR-INF").mkdir(parents=True)
    described: dict[str, Any] = {"modelName": name, "modelVersion": "1.0", "handler": "handler.py"} | manifest
    if config is not None:
        described["configFile"] = "model-config.yaml"
        (made / "model-config.yaml").write_text(config)
    document = {"runtime": "python", "model": {key: value for key, value in described.items() if value is not None}}
    (made / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(document))
    (made / "handler.py").write_text(code or "def handle(data, context):\n    return data and [b'ok'] * len(data)\n")
    return made
