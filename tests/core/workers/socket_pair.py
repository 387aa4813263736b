"""A Worker over a socketpair whose other end is the test's; its process and its scheduler are recorders."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Sequence
from typing import Any, cast

from torchserve.core.payload import Body, Part, Payload
from torchserve.core.wire.frames import FrameReader, encode
from torchserve.core.wire.messages import Answer, Capacity, EngineReport, Load, Loaded, Predict, ToBackend
from torchserve.core.workers.observer import WorkerObserver
from torchserve.core.workers.worker import Worker
from torchserve.core.workers.worker_spec import WorkerSpec
from torchserve.scheduler.job import Batch, Job, ReleaseReason
from torchserve.scheduler.model_scheduler import ModelScheduler

from ..doubles import Sink

LOAD = Load("m", "1.0", "/models/m", "handler.py", 2, max_response_size=100_000)
LONG = 3600.0  # seconds


class Process:
    """The front's view of a backend process: it is dead once it is killed, or as the test says."""

    pid = 4711
    pids = (4711,)
    memory = 0
    results = None
    lent = None
    where = ending = ""
    gpus = 0.0

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.settled = False
        self._connecting = False

    async def connect(self, protocol: asyncio.BufferedProtocol) -> None:
        self._connecting = True
        await asyncio.get_running_loop().create_unix_connection(lambda: protocol, sock=self.socket)

    def localized(self, load: Load) -> Load:
        return load

    def abandon(self) -> None:
        if not self._connecting:
            self.socket.close()

    def settle(self) -> None:
        self.settled = True

    async def stacks(self) -> str:
        return "Current thread 0x1 (most recent call first):\n"

    def kill(self) -> None:
        self.ends(-signal.SIGKILL)

    def ends(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)


class Recorder:
    """A scheduler and an observer that keep what a worker tells them."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, int, Any]] = []
        self.chunks: list[tuple[int, Any]] = []
        self.attached: set[object] = set()
        self.for_one: set[object] = set()  # those that were attached for a single batch
        self.observed: list[str] = []
        self.engines: dict[str, str] = {}  # the metrics of workers' engines
        self.tokens: list[tuple[str, int, int]] = []
        self.reports: list[tuple[EngineReport, Sequence[float]]] = []
        self.order: list[str] = []  # of what a batch's end is told to

    def attach(self, runner: object, *, once: bool = False) -> None:
        self.attached.add(runner)
        self.for_one |= {runner} if once else set()

    def detach(self, runner: object) -> None:
        self.attached.discard(runner)

    def paused(self, _: object) -> None:
        self.order.append("paused")

    def resumed(self, _: object) -> None:
        self.order.append("resumed")

    def relearn(self, _: object) -> None:
        self.order.append("relearn")

    def now(self) -> float:
        return 100.0

    def progress(self, job: Job, prompt: int, generated: int) -> None:
        self.tokens.append((job.id, prompt, generated))

    def generated(self, report: EngineReport, first_tokens: Sequence[float]) -> None:
        self.reports.append((report, first_tokens))

    def chunk(self, batch: Batch, items: Sequence[object]) -> None:
        self.chunks.append((batch.id, items))

    def finish(self, batch: Batch, outcomes: Sequence[object], **_: object) -> None:
        self.ends.append(("finish", batch.id, list(outcomes)))
        self.order.append("replies")

    def fail(self, batch: Batch, error: Exception) -> None:
        self.ends.append(("fail", batch.id, error))

    def repeat(self, batch: Batch, error: Exception) -> None:
        self.ends.append(("repeat", batch.id, error))

    def requeue(self, batch: Batch) -> None:
        self.ends.append(("requeue", batch.id, None))

    def batch_finishing(self, *_: object) -> None:
        self.observed.append("finishing")
        self.order.append("samples")

    def batch_finished(self, *_: object) -> None:
        self.observed.append("finished")

    def engine_metrics(self, worker: str, text: str) -> None:
        self.engines[worker] = text

    def batch_overdue(self, _: str) -> None:
        self.observed.append("overdue")

    @property
    def said(self) -> list[tuple[str, int]]:
        return [(what, number) for what, number, _ in self.ends]


class Pair:
    """A worker and the other end of its socket, where the test is the backend."""

    def __init__(self, *, timeout: float = LONG, load: Load = LOAD, **spec: bool) -> None:
        ours, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        self.far.setblocking(False)
        self.process, self.told = Process(ours), Recorder()
        self.worker = Worker(
            WorkerSpec("W-9000-m_1.0", load, timeout, **spec),
            self.process,
            cast("ModelScheduler", self.told),
            cast("WorkerObserver", self.told),
        )
        self._reader: FrameReader[ToBackend] = FrameReader(ToBackend, 1 << 20)

    async def received(self) -> tuple[ToBackend, tuple[Body, ...]]:
        """Return the next frame that the worker has sent."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):
            while (frame := self._reader.next_frame()) is None:
                count = await loop.sock_recv_into(self.far, self._reader.get_buffer())
                assert count, "the worker has closed its socket"
                self._reader.buffer_updated(count)
        return frame.message, frame.bodies

    async def send(self, message: Any, bodies: Sequence[Body] = ()) -> None:
        await self.send_bytes(frame(message, bodies))

    async def send_bytes(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.far, data)

    async def serves(self, engine: Capacity | None = None) -> None:
        """Load the model, and have the worker serve."""
        loading = asyncio.ensure_future(self.worker.load(LONG, LONG))
        await self.received()
        await self.send(Loaded(200, "", engine=engine))
        await loading
        self.worker.open()

    async def run(self, *numbers: int, jobs: int = 2) -> None:
        """Hand over batches, of which all but the first are prefetched, and wait until the backend has them."""
        for number in numbers:
            batch = Batch(
                number, tuple(job(f"r{number}-{i}") for i in range(jobs)), ReleaseReason.FULL, 0.0, self.worker
            )
            self.worker.run(batch)
            message, _ = await self.received()
            assert isinstance(message, Predict)
            assert message.batch == number

    async def ended(self) -> str:
        async with asyncio.timeout(60):
            return await asyncio.shield(self.worker.ended)


def job(name: str) -> Job:
    return Job(name, Payload(name, (Part("body", "text/plain", name.encode()),), {"h": "v"}), Sink())


def answer(number: int, code: int = 200, message: str = "", **more: Any) -> Answer:
    return Answer(number, code, message, more.pop("results", ()), 1.0, **more)


def frame(message: Any, bodies: Sequence[Body] = ()) -> bytes:
    return b"".join(encode(message, bodies))
