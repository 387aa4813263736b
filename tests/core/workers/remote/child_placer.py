"""ChildPlacer: an engine whose nodes are this host: it starts each minder as a child, and ends it as a test says."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from torchserve.core.workers.remote.placer import Demand, Place, Told


class ChildPlacer:
    """A placer that keeps what it was asked for. `room` holds orders back while it is not set."""

    def __init__(self, cache: Path) -> None:
        self.orders: dict[str, subprocess.Popen[bytes]] = {}
        self.demands: list[Demand] = []
        self.tickets: list[bytes] = []
        self.told: dict[str, Told] = {}
        self.room = asyncio.Event()
        self.room.set()
        self.inside: tuple[str, ...] = ()  # the command that a minder is started by
        self._cache = cache

    async def open(self) -> str:
        return "127.0.0.1"

    async def place(self, order: str, demand: Demand, ticket: bytes, waits: Told, lost: Told) -> Place:
        self.demands.append(demand)
        self.tickets.append(ticket)
        self.told[order] = lost
        if not self.room.is_set():
            waits("no node has room")
        await self.room.wait()
        waits("")
        self.orders[order] = start_minder(ticket, self._cache, self.inside)
        return Place("here")

    def release(self, order: str) -> None:
        self.told.pop(order, None)

    async def close(self) -> None:
        for minder in self.orders.values():
            minder.kill()
            await asyncio.to_thread(minder.wait)


def start_minder(ticket: bytes, cache: Path, inside: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """Start a minder with this ticket; its node's files are in `cache`."""
    minder = subprocess.Popen(
        [*inside, sys.executable, "-P", "-m", "torchserve.core.backend.minder"],
        stdin=subprocess.PIPE,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "HIDDEN": "yes"},
    )
    assert minder.stdin is not None
    with minder.stdin as stdin:
        stdin.write(ticket + b"\n")
    return minder
