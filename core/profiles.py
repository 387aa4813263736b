"""Profiles: takes profiles of workers, and shows the stacks of their threads, for management."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, NamedTuple

from .errors import BadRequest, NotFound, NoWorker, Overloaded
from .models.model import Model
from .models.registry import Registry
from .process_stacks import StacksUnknown
from .workers.worker_slot import WorkerSlot

MOST_SECONDS: Final = 60
MOST_AT_ONCE: Final = 4  # of the whole server: each keeps a file in memory, and slows a worker
_MOST_WORKERS: Final = 32  # whose stacks one answer has


class WorkerNotFound(NotFound):
    """A worker that the model version hasn't."""


class Taken(NamedTuple):
    """A profile: a name for its file, the file, and what was recorded."""

    name: str
    data: bytes
    note: str


class Profiles:
    """The profiles and stacks of the workers of a registry. All methods raise ModelNotFound, VersionNotFound."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._running = 0

    async def take(self, name: str, version: str | None, worker: str | None, seconds: int) -> Taken:
        """Record for `seconds` what a worker does, or the busiest one. Raises NoWorker, Overloaded, NotProfiled."""
        if not 1 <= seconds <= MOST_SECONDS:
            raise BadRequest(f"seconds must be a whole number from 1 to {MOST_SECONDS}, not {seconds}.")
        model = self._registry.get(name, version)
        slots = [slot for slot in _slots(model, worker) if slot.worker is not None]
        if not slots:
            raise NoWorker(f'Model "{model.name}" version {model.version} has no worker that could be profiled.')
        if self._running >= MOST_AT_ONCE:
            raise Overloaded(
                f"{self._running} profiles are being taken, and no more may be at a time.", retry_after=5.0
            )
        slot = max(slots, key=lambda slot: slot.worker is not None and slot.worker.busy)
        assert slot.worker is not None
        self._running += 1
        try:
            found = await slot.worker.profiles.take(seconds, model.options.response_timeout)
        finally:
            self._running -= 1
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        return Taken(f"{slot.name}-{stamp}.pt.trace.json.gz", found.data, found.note)

    async def stacks(self, name: str, version: str | None, worker: str | None) -> list[dict[str, Any]]:
        """Return the stacks of the threads of each worker, or of one: what it is doing, whatever that is."""
        model = self._registry.get(name, version)
        return await asyncio.gather(*map(_stacks, _slots(model, worker)[:_MOST_WORKERS]))


def _slots(model: Model, worker: str | None) -> list[WorkerSlot]:
    """Return the workers, or the one of this id or name. Raises WorkerNotFound."""
    slots = [slot for slot in model.pool.slots if worker in (None, str(slot.number), slot.name)]
    if worker is not None and not slots:
        there = ", ".join([str(slot.number) for slot in model.pool.slots][:10]) or "none"
        raise WorkerNotFound(
            f'Model "{model.name}" version {model.version} has no worker {worker[:80]}; it has {there}.'
        )
    return slots


async def _stacks(slot: WorkerSlot) -> dict[str, Any]:
    told: dict[str, Any] = {"id": str(slot.number), "name": slot.name, "state": slot.state.value}
    if slot.worker is None:
        return told | {"error": "it has no process that serves"}
    try:
        return told | {"busy": slot.worker.busy, "stacks": (await slot.worker.process.stacks()).splitlines()}
    except StacksUnknown as error:
        return told | {"error": str(error)}
