"""A model whose worker can be held in each state of its life, and what must be true afterwards of processes and files."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil

from torchserve.core.dataplane import DataPlane
from torchserve.core.errors import ServeError
from torchserve.core.gpus.gpu_allocator import GpuAllocator
from torchserve.core.models.model import Model
from torchserve.core.payload import Part, Payload
from torchserve.core.workers.pool import SlotState
from torchserve.scheduler.gpu import Gpu

from ..doubles import Sink, folder, until
from ..house import House

# Each gate is a file: while it is there, the handler waits at that place, after it has said that it came there.
HANDLER = """
import os, time
HERE = os.environ["LIVES_GATES"]

def gate(name):
    if os.path.exists(f"{HERE}/{name}"):
        open(f"{HERE}/{name}-{os.getpid()}.reached", "w").close()
        while os.path.exists(f"{HERE}/{name}"):
            time.sleep(0.01)

class Handler:
    def initialize(self, context):
        gate("load")
        if os.path.exists(f"{HERE}/fail"):
            raise ValueError("told to fail")

    def handle(self, data, context):
        gate("run")
        return [b"ok"] * len(data)
"""


class OneGpu(GpuAllocator):
    """The GPU allocator of a host with one GPU, without a driver; `free` bytes of it are free."""

    def __init__(self, home: Path) -> None:
        super().__init__(None, interval=3600.0, leases=home / "leases", footprints=home / "footprints.json")
        self.free = 1 << 30

    async def visible(self) -> tuple[Gpu, ...]:
        await asyncio.sleep(0)  # as the real one it lets others go on
        return (Gpu(0, "GPU-0", "Fake", 1 << 30, self.free, board="GPU-0"),)

    @property
    def leases(self) -> set[str]:
        return {each.lease.worker for each in self._allocations}


class Lives(House):
    """A control plane on a host with one GPU, with one model `m`, and gates for its workers."""

    def __init__(self, home: Path, gates: Path, config: str = "", **settings: Any) -> None:
        gpu = OneGpu(home)
        super().__init__(home, gpu, number_of_gpu=None, **settings)
        self.gpu = gpu
        self.gates = gates
        folder(self.store, "m", HANDLER, f"gpuMemory: 1\nwhenNoGpuMemory: wait\n{config}")
        self.sinks: list[Sink] = []

    def shut(self, *gates: str) -> None:
        for gate in gates:
            (self.gates / gate).touch()

    def opened(self) -> None:
        """Let everything go on: gates open, loads that succeed, memory on the GPU."""
        self.gpu.free = 1 << 30
        for gate in self.gates.iterdir():
            gate.unlink(missing_ok=True)

    def reached(self, gate: str) -> Callable[[], bool]:
        return lambda: any(self.gates.glob(f"{gate}-*.reached"))

    @property
    def model(self) -> Model:
        return self.registry.get("m")

    def states(self, *states: SlotState) -> Callable[[], bool]:
        """Whether there are workers, and all of them are in one of these states."""
        return lambda: bool(self.model.pool.slots) and all(slot.state in states for slot in self.model.pool.slots)

    def ask(self) -> Sink:
        sink = Sink()
        DataPlane(self.registry, 1 << 30).submit("m", None, Payload("id", (Part("body", "", b"x"),)), sink)
        self.sinks.append(sink)
        return sink

    def begin(self, work: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> asyncio.Future[Any]:
        """A command whose client may leave; that it is refused is one of its ends."""

        async def tried() -> None:
            with contextlib.suppress(ServeError):
                await work(*arguments, **options)

        return asyncio.ensure_future(tried())

    async def scale(self, count: int) -> None:
        await self.plane.scale("m", None, minimum=count, synchronous=True)

    async def described(self) -> set[int]:
        """The pids of workers that management tells of."""
        told: set[int] = set()
        for name in {model.name for model in self.registry}:
            for entry in await self.plane.describe(name, "all"):
                told |= {worker["pid"] for worker in entry["workers"] if worker["pid"] > 0}
        return told

    async def settled(self) -> None:
        """Wait until no worker is on its way from one state to another. Those that wait for a next try may stay so."""
        still = (SlotState.READY, SlotState.WAITING, SlotState.GIVEN_UP)
        await until(lambda: all(slot.state in still for model in self.registry for slot in model.pool.slots))
        assert await self.described() == children(), "processes that nobody is told of, or the other way round"
        serving = {slot.name for model in self.registry for slot in model.pool.slots if slot.worker is not None}
        assert self.gpu.leases == serving

    async def end(self) -> None:
        await self.plane.close(0.0)
        await self.gpu.close()
        for sink in self.sinks:
            assert sink.told.is_set()


def children() -> set[int]:
    """The pids of this process's children, those included that nobody has waited for."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def descriptors() -> dict[str, str]:
    """What each open descriptor of this process leads to."""
    found: dict[str, str] = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


class Remains:
    """What there was before: `none` waits until there is no more than that, and fails if that doesn't come."""

    def __init__(self, home: Path) -> None:
        self._home = home
        gc.collect()
        gc.freeze()  # what other tests have left is not looked through once more at each poll: that took seconds a test
        self._open = len(descriptors())
        self.children = children()

    async def none(self) -> None:
        def clean() -> bool:
            gc.collect()
            return len(descriptors()) <= self._open and children() <= self.children

        try:
            await until(clean, 20.0)
        except TimeoutError:
            raise AssertionError(f"left behind: {children() - self.children}, {descriptors()}") from None
        finally:
            gc.unfreeze()
        assert [*self._home.glob("work/*")] == []
        assert [*self._home.glob("leases/*.leases")] == []
