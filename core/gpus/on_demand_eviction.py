"""OnDemandEviction: ends workers of onDemand models so that a worker that finds no GPU memory gets some.

A worker of a model that is not onDemand gets the memory of idle models at once. A worker of an onDemand model gets that
of idle models that have had their minimum residency and, once it has waited PATIENCE, that of busy ones as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Protocol, TypeAlias

from ...scheduler.eviction import Resident

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds that a model with requests waits for others to be idle; then busy ones have to go as well

# Chooses those of the given residents to end so that a worker finds room; None where ending them all would not help.
Choose: TypeAlias = Callable[[list[Resident]], Awaitable["list[Resident] | None"]]


class Postponed(Exception):
    """A worker of an onDemand model finds no room, and no request needs it: it starts when one comes."""


class Room(Enum):
    """An outcome of asking for room. COMING means that the workers which would have to go are busy or have only just
    come.
    """

    MADE = "made"
    COMING = "coming"
    NONE = "none"


class OnDemand(Protocol):
    """An onDemand model, as eviction sees it. Times are the event loop's, in seconds."""

    name: str
    used: float

    @property
    def workers(self) -> frozenset[str]:
        """Return the names of its workers, those that start included."""
        ...

    @property
    def wanted(self) -> bool:
        """Return whether requests wait for it."""
        ...

    @property
    def serves(self) -> bool:
        """Return whether all its workers have loaded the model."""
        ...

    @property
    def idle(self) -> bool:
        """Return whether they all serve and have nothing to do."""
        ...

    @property
    def stays_until(self) -> float:
        """Return the time before which it doesn't go for another onDemand model."""
        ...

    async def leave(self, *, busy: bool, worker: str) -> None:
        """End its workers, since `worker` needs their memory; unless `busy`, only if it is idle still. What waits then,
        waits for its return.
        """
        ...


class OnDemandEviction:
    """The onDemand models of this server; a Model joins and parts."""

    def __init__(self) -> None:
        self._models: set[OnDemand] = set()
        self._leaving = asyncio.Lock()

    def join(self, model: OnDemand) -> None:
        """Add a model whose workers may be ended."""
        self._models.add(model)

    def part(self, model: OnDemand) -> None:
        """Remove a model that is being unregistered."""
        self._models.discard(model)

    async def make_room(self, worker: str, choose: Choose, waited: float) -> Room:
        """End the models that have to go so that `worker`, which has `waited` so many seconds, finds room.

        Raises Postponed for a worker of an onDemand model that no request waits for.
        """
        if not self._models:
            return Room.NONE
        own = next((model for model in self._models if worker in model.workers), None)
        if own is not None and not own.wanted:
            raise Postponed
        async with self._leaving:
            others = [model for model in self._models if model is not own]
            now = asyncio.get_running_loop().time()
            settled = [each for each in others if each.serves and (own is None or now >= each.stays_until)]
            groups = [([each for each in settled if each.idle], False)]
            if own is not None and waited >= PATIENCE:
                groups.append((settled, True))
            for models, busy in groups:
                chosen = await choose(_residents(models))
                if chosen is not None:
                    names = {each.name for each in chosen}
                    await _end([each for each in models if each.name in names], worker, busy=busy)
                    return Room.MADE
            hope = own is not None and await choose(_residents(others)) is not None
        return Room.COMING if hope else Room.NONE


async def _end(models: list[OnDemand], worker: str, *, busy: bool) -> None:
    for model in models:
        log.info("%s makes room for %s; it comes back with its next request", model.name, worker)
        await model.leave(busy=busy, worker=worker)


def _residents(models: list[OnDemand]) -> list[Resident]:
    return [Resident(model.name, model.workers, model.used) for model in models]
