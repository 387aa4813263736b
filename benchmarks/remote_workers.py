"""What a worker on another host costs beside one on the front's: `python -m benchmarks.remote_workers`.

The node is this machine, so that no network is in the figures. A small batch is 32 requests of 100 bytes, which the
handler echoes; its cost is the processor time of front, worker and minder. A large body is 16 MiB, there and back; its
speed counts both ways. The kinds of workers take turns, in `--rounds`, and the table has medians and extremes. The
floor of large bodies is a loop of Python that only sends and receives, in the same rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import uvloop
from torchserve.core.payload import Part, Payload
from torchserve.core.wire.malloc_tuning import keep_freed_memory
from torchserve.core.wire.messages import Load
from torchserve.core.workers.remote.placer import Demand, Place, Told
from torchserve.core.workers.remote.remote_start import RemoteStart
from torchserve.core.workers.remote.remote_workers import RemoteWorkers
from torchserve.core.workers.shared_memory import Requests, shared
from torchserve.core.workers.spawn_local import spawn
from torchserve.core.workers.worker import Worker
from torchserve.core.workers.worker_process import WorkerProcess
from torchserve.core.workers.worker_spec import WorkerSpec
from torchserve.scheduler.job import Job
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import BatchPolicy

from .bare_sockets import BareSockets

FLOORS = {"bare sockets, not encrypted": False, "bare sockets, encrypted": True}
KINDS = ("local", "local, no shared memory", "remote, not encrypted", "remote, encrypted")
SMALL, BATCH = b"x" * 100, 32
LARGE = 16 << 20
_HANDLER = "def handle(data, context):\n    return data and [row['body'] for row in data]\n"
_LONG = 3600.0


class _Quiet:
    """An observer that keeps nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class _ThisHost:
    """An engine whose only node is this machine."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self.minders: list[subprocess.Popen[bytes]] = []

    async def open(self) -> str:
        return "127.0.0.1"

    async def place(self, order: str, demand: Demand, ticket: bytes, waits: Told, lost: Told) -> Place:
        command = [sys.executable, "-P", "-m", "torchserve.core.backend.minder"]
        environment = {**os.environ, "XDG_CACHE_HOME": str(self._cache)}
        minder = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # noqa: ASYNC220  a millisecond
        assert minder.stdin is not None
        with minder.stdin as stdin:
            stdin.write(ticket + b"\n")
        self.minders.append(minder)
        return Place("this host")

    def release(self, order: str) -> None:
        return

    async def close(self) -> None:
        for minder in self.minders:
            await asyncio.to_thread(minder.wait)


class Subject:
    """A worker of one kind, with a scheduler of its own."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self._folder = folder
        self._scheduler = ModelScheduler(BatchPolicy(batch_size=BATCH, max_batch_delay=0.0, queue_size=10_000))
        self._processes: list[psutil.Process] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Have the worker serve meanwhile."""
        load = Load("m", "1.0", str(self._folder), "handler.py", BATCH, max_response_size=LARGE)
        placer = _ThisHost(self._folder.parent / "cache")
        remote = RemoteWorkers(placer, encrypted=self.kind == KINDS[3])
        requests = shared(Requests) if self.kind == KINDS[0] else None
        process: WorkerProcess
        if self.kind.startswith("local"):
            process = spawn("W-1", os.environ, lambda *_: None, requests=requests)
        else:
            start = RemoteStart(worker="W-1", model_dir=self._folder, demand=Demand(), variables={})
            process = remote.spawn(start, lambda *_: None)
        observer: Any = _Quiet()
        worker = Worker(WorkerSpec("W-1", load, _LONG), process, self._scheduler, observer)
        await worker.load(_LONG, _LONG)
        worker.open()
        self._processes = [psutil.Process(pid) for pid in (*process.pids, *(each.pid for each in placer.minders))]
        yield
        await worker.stop(5.0)
        await remote.close()
        if requests is not None:
            requests.close()

    async def small(self, batches: int) -> float:
        """Return the processor time of a small batch, in microseconds."""
        bodies = [SMALL] * BATCH
        await self._ask(bodies)
        began = self._spent()
        for _ in range(batches):
            await self._ask(bodies)
        return (self._spent() - began) / batches * 1e6

    async def large(self, count: int) -> tuple[float, float]:
        """Return the speed of large bodies, in GB/s, and in GB per second of processor time."""
        body = os.urandom(LARGE)
        await self._ask([body])
        began, spent = time.perf_counter(), self._spent()
        for _ in range(count):
            await self._ask([body])
        moved = 2 * LARGE * count / 1e9
        return moved / (time.perf_counter() - began), moved / (self._spent() - spent)

    async def _ask(self, bodies: Sequence[bytes]) -> None:
        answers = _Answers(len(bodies))
        for body in bodies:
            parts = (Part("body", "application/octet-stream", body),)
            self._scheduler.submit(Job("r", Payload("r", parts, {}), answers))
        await answers.all

    def _spent(self) -> float:
        others = [process.cpu_times() for process in self._processes]
        return time.process_time() + sum(each.user + each.system for each in others)


class _Answers:
    """A sink of several jobs; `all` is set once each is answered."""

    def __init__(self, count: int) -> None:
        self.all: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = count

    def chunk(self, item: object) -> None:
        raise AssertionError("the handler doesn't stream")

    def done(self, item: object) -> None:
        self._left -= 1
        if not self._left:
            self.all.set_result(None)

    def fail(self, error: Exception) -> None:
        raise error


@dataclass(slots=True)
class Figures:
    """The figures of one kind, by round: a small batch's cost (us), and a large body's speeds as `large` has them."""

    costs: list[float] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    per_cpu: list[float] = field(default_factory=list)


async def measure(folder: Path, rounds: int, batches: int, bodies: int) -> dict[str, Figures]:
    """Return the figures of each kind, of a model in `folder`."""
    found = {kind: Figures() for kind in (*KINDS, *FLOORS)}
    for _ in range(rounds):
        for kind, encrypted in FLOORS.items():
            floor = BareSockets(LARGE, encrypted=encrypted)
            with floor.connected():
                speed, per_cpu = floor.large(bodies)
            found[kind].speeds.append(speed)
            found[kind].per_cpu.append(per_cpu)
        for kind in KINDS:
            figures = found[kind]
            subject = Subject(kind, folder)
            async with subject.serving():
                figures.costs.append(await subject.small(batches))
                speed, per_cpu = await subject.large(bodies)
                figures.speeds.append(speed)
                figures.per_cpu.append(per_cpu)
    return found


def table(found: dict[str, Figures]) -> str:
    """Return the measurement as a table in Markdown; the ratio is to the local worker of the same round."""
    heads = ("worker", "batch of 32, us of processor time", "times the local one's", "16 MiB there and back, GB/s")
    lines = [f"| {' | '.join((*heads, 'GB per second of processor time'))} |", "|---|---|---|---|---|"]
    base = found[KINDS[0]].costs
    for kind, each in found.items():
        ratios = [cost / local for cost, local in zip(each.costs, base, strict=False)]
        cells = (_spread(each.costs, 0), _spread(ratios, 2), _spread(each.speeds, 2), _spread(each.per_cpu, 2))
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return ""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=1000, help="small batches a round")
    parser.add_argument("--bodies", type=int, default=40, help="large bodies a round")
    arguments = parser.parse_args()
    keep_freed_memory()  # as the server does
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model")
        model.mkdir()
        (model / "handler.py").write_text(_HANDLER)
        found = uvloop.run(measure(model, arguments.rounds, arguments.batches, arguments.bodies))
    print(table(found))


if __name__ == "__main__":
    main()
