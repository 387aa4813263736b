"""A Pool whose launcher and workers are the test's: a launch ends as the test says, and no process is started."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from torchserve.core.workers.launcher import Launcher
from torchserve.core.workers.load_failed import LoadFailed
from torchserve.core.workers.pool import Pool

MAX_RETRY = 300.0  # s


class FakeWorker:
    """A worker that ends when it is stopped, after `lingers` s, or when the test says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.cause, self.has_answered, self.busy, self.failed = "", False, False, None
        self.opened = False
        self.lingers = 0.0
        self.graces: list[float] = []

    def dies(self, cause: str = "killed", *, answered: bool = False) -> None:
        self.cause, self.has_answered = cause, answered
        self.ended.set_result(f"was {cause}")

    def open(self) -> None:
        assert not self.opened
        self.opened = True

    async def stop(self, grace: float) -> None:
        self.graces.append(grace)
        await asyncio.sleep(self.lingers)
        if not self.ended.done():
            self.dies("stopped")


class FakeLauncher:
    """Keeps when each launch began. A launch has what the next of `outcomes` says, or else it succeeds at once."""

    def __init__(self, *, on_demand: bool = False, warm_spare: bool = False) -> None:
        self.options = SimpleNamespace(on_demand=on_demand, warm_spare=warm_spare)
        self.gpu_allocator = self.observer = self
        self.outcomes: list[Exception | Callable[[FakeWorker], Any]] = []
        self.always: Exception | None = None
        self.began: list[float] = []
        self.workers: list[FakeWorker] = []
        self.events: list[tuple[str, str]] = []

    async def launch(self, name: str, workers: int) -> tuple[FakeWorker, tuple[()]]:
        self.began.append(asyncio.get_running_loop().time())
        outcome = self.outcomes.pop(0) if self.outcomes else self.always
        await asyncio.sleep(0)
        if isinstance(outcome, Exception):
            raise outcome
        worker = FakeWorker(name)
        if outcome is not None:
            await outcome(worker)
        self.workers.append(worker)
        return worker, ()

    def told(self, error: LoadFailed) -> str:
        return f"told: {error}"

    def release(self, name: str) -> None:
        self.events.append(("released", name))

    def loaded(self, name: str, milliseconds: float) -> None:
        self.events.append(("loaded", name))

    def restarting(self, name: str, cause: str) -> None:
        self.events.append((cause, name))

    @property
    def causes(self) -> list[str]:
        return [what for what, _ in self.events if what not in {"loaded", "released"}]


class Subject:
    """A pool, its launcher, and how often it has said that there is no hope."""

    def __init__(self, *, max_retry: float = MAX_RETRY, on_demand: bool = False, warm_spare: bool = False) -> None:
        self.launcher = FakeLauncher(on_demand=on_demand, warm_spare=warm_spare)
        self.hopeless = 0
        numbers = itertools.count(9000)
        self.pool = Pool(cast(Launcher, self.launcher), "m_1.0", lambda: next(numbers), max_retry, self._give_up_hope)

    def _give_up_hope(self) -> None:
        self.hopeless += 1

    @property
    def states(self) -> list[str]:
        return [slot.state.value for slot in self.pool.slots]

    @property
    def numbers(self) -> list[int]:
        return [slot.number for slot in self.pool.slots]

    def worker(self, at: int) -> FakeWorker:
        worker = self.pool.slots[at].worker
        assert worker is not None
        return cast(FakeWorker, worker)

    async def serves(self, count: int, maximum: int | None = None) -> None:
        await self.pool.scale(count, maximum or count)
        assert self.states == ["ready"] * count

    async def end(self) -> None:
        """Stop the pool: no slot, task or waiting command may be left."""
        await self.pool.stop(0.0)
        assert self.pool.slots == []
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
