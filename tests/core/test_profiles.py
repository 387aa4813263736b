"""Profiles and stacks of a model's workers: which worker, how many at once, and what is said where there is none."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from torchserve.core.errors import BadRequest, ModelNotFound, NotFound, NoWorker, Overloaded, ServeError
from torchserve.core.models.registry import Registry
from torchserve.core.process_stacks import StacksUnknown
from torchserve.core.profiles import MOST_AT_ONCE, Profiles
from torchserve.core.workers.pool import SlotState, WorkerSlot
from torchserve.core.workers.profiles import ProfileFile

from .doubles import model


class Worker:
    def __init__(self, *, busy: bool = False, stacks: str | Exception = "") -> None:
        self.busy = busy
        self.asked: list[tuple[float, float]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.profiles = self
        self.process = SimpleNamespace(stacks=self.stacks)
        self._stacks = stacks

    async def take(self, seconds: float, patience: float) -> ProfileFile:
        self.asked.append((seconds, patience))
        await self.gate.wait()
        return ProfileFile(b"trace", "3 batches")

    async def stacks(self) -> str:
        if isinstance(self._stacks, Exception):
            raise self._stacks
        return self._stacks


def subject(*workers: Worker | None) -> Profiles:
    registry, made = Registry(), model("cats")
    registry.claim(made.name, made.version)
    registry.add(made)
    for number, worker in enumerate(workers, 9000):
        state = SlotState.WAITING if worker is None else SlotState.READY
        slot = WorkerSlot(number, f"W-{number}-cats_1.0", asyncio.get_running_loop().create_future(), state)
        slot.worker = cast(Any, worker)
        made.pool.slots.append(slot)
    return Profiles(registry)


async def test_a_busy_worker_is_recorded_or_the_one_that_is_named() -> None:
    idle, busy = Worker(), Worker(busy=True)
    profiles = subject(None, idle, busy)
    taken = await profiles.take("cats", None, None, 5)
    assert (taken.data, taken.note, busy.asked) == (b"trace", "3 batches", [(5, 120)])
    assert taken.name.startswith("W-9002-cats_1.0-")
    assert taken.name.endswith(".pt.trace.json.gz")
    for worker in ("9001", "W-9001-cats_1.0"):
        await profiles.take("cats", "1.0", worker, 60)
    assert idle.asked == [(60, 120)] * 2


@pytest.mark.parametrize(
    ("error", "said", "asked"),
    [
        (ModelNotFound, "dogs", ("dogs", None, None, 5)),
        (NotFound, "has no worker 7; it has 9000, 9001.", ("cats", None, "7", 5)),
        (NoWorker, "no worker that could be profiled", ("cats", None, "9000", 5)),
        (BadRequest, "from 1 to 60, not 0", ("cats", None, None, 0)),
        (BadRequest, "from 1 to 60, not 61", ("cats", None, None, 61)),
    ],
)
async def test_what_can_not_be_recorded_is_said(error: type[ServeError], said: str, asked: Any) -> None:
    with pytest.raises(error, match=said):
        await subject(None, Worker()).take(*asked)


async def test_only_so_many_are_taken_at_once() -> None:
    workers = [Worker() for _ in range(MOST_AT_ONCE + 1)]
    profiles = subject(*workers)
    for worker in workers:
        worker.gate.clear()
    taking = [asyncio.create_task(profiles.take("cats", None, str(9000 + at), 5)) for at in range(MOST_AT_ONCE)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match=f"{MOST_AT_ONCE} profiles are being taken"):
        await profiles.take("cats", None, "9000", 5)
    for worker in workers:
        worker.gate.set()
    await asyncio.gather(*taking)
    await profiles.take("cats", None, "9000", 5)


async def test_the_stacks_of_all_workers_are_told_and_why_not() -> None:
    profiles = subject(None, Worker(busy=True, stacks="a\nb\n"), Worker(stacks=StacksUnknown("it has ended")))
    first, second, third = await profiles.stacks("cats", None, None)
    assert first == {
        "id": "9000",
        "name": "W-9000-cats_1.0",
        "state": "waiting",
        "error": "it has no process that serves",
    }
    assert (second["busy"], second["stacks"], third["error"]) == (True, ["a", "b"], "it has ended")
    assert await profiles.stacks("cats", None, "9001") == [second]
    assert await subject().stacks("cats", None, None) == []
    with pytest.raises(NotFound, match="it has none"):
        await subject().stacks("cats", None, "1")
