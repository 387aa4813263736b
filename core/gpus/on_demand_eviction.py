"""Residents: the onDemand models of this server, whose workers may be ended to make room for others'."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Protocol, TypeAlias

from ...scheduler.eviction import Resident

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds that a model with requests waits for others to be idle; then busy ones have to go as well

# Whom to end so that a worker finds room, of these; None where that would not help.
Choose: TypeAlias = Callable[[list[Resident]], Awaitable["list[Resident] | None"]]


class Postponed(Exception):
    """There is no room for a worker of an onDemand model, and no request that needs it: it starts when one comes."""


class Room(Enum):
    """What there is to hope for. COMING: those that would have to go are busy, or have only just come."""

    MADE = "made"
    COMING = "coming"
    NONE = "none"


class OnDemand(Protocol):
    """A model that is there on demand. Times are the event loop's, in s."""

    name: str
    used: float

    @property
    def workers(self) -> frozenset[str]:
        """The names of its workers, starting ones included."""
        ...

    @property
    def wanted(self) -> bool:
        """Requests wait for it."""
        ...

    @property
    def serves(self) -> bool:
        """All its workers do."""
        ...

    @property
    def idle(self) -> bool:
        """They have nothing to do, too."""
        ...

    @property
    def stays_until(self) -> float:
        """Before that it doesn't go for another onDemand model."""
        ...

    async def leave(self, *, busy: bool) -> None:
        """End its workers; unless `busy`, only if it is idle still. What waits then, waits for its return."""
        ...


class Residents:
    """All of them; a Model joins and parts."""

    def __init__(self) -> None:
        self._models: set[OnDemand] = set()
        self._leaving = asyncio.Lock()

    def join(self, model: OnDemand) -> None:
        self._models.add(model)

    def part(self, model: OnDemand) -> None:
        self._models.discard(model)

    async def make_room(self, worker: str, choose: Choose, waited: float) -> Room:
        """End what has to go so that `worker`, which has waited for so many seconds, finds room. Raises Postponed.

        For a model that is not onDemand itself the idle ones go at once.
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
        await model.leave(busy=busy)


def _residents(models: list[OnDemand]) -> list[Resident]:
    return [Resident(model.name, model.workers, model.used) for model in models]
