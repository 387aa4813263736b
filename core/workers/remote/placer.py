"""Placer: what an engine does for the front: it finds a node for a worker, and starts the worker's minder there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class NotPlaced(Exception):
    """A worker that the engine can't place or start; the text says why."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The needs of a worker: GPUs (None: one, if there are any), cores, and bytes of host memory (0: not known)."""

    gpus: float | None = 0.0
    cpus: float = 1.0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A place that was found: a name of its node, for people, and the number of GPUs."""

    node: str
    gpus: float = 0.0


Told = Callable[[str], None]


class Placer(Protocol):
    """An engine. All calls are made on the event loop."""

    async def open(self) -> str:
        """Start the engine's side, and return the front's address as the nodes see it. Raises NotPlaced."""
        ...

    async def place(self, order: str, demand: Demand, ticket: bytes, waits: Told, lost: Told) -> Place:
        """Start a minder with `ticket` on its standard input, on a node that has what is demanded. Return the place.

        Waits for as long as no node has room; `waits` is told why, and "" once it is over. `lost` is told why the place
        is lost, if it is lost later. `order` is the name of this start, no two of which are alike. Raises NotPlaced.
        """
        ...

    def release(self, order: str) -> None:
        """Give up a place, or the wait for one. Nothing happens if there is none."""

    async def close(self) -> None:
        """Give up all places."""
