"""SnapshotWriter: saves the server's state after a change, off the event loop, one write at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from .snapshot import Kind, Snapshot
from .snapshot_folder import SnapshotFolder

log = logging.getLogger(__name__)


class SnapshotWriter:
    """A writer of snapshots; `take` returns the state. Changes that come during a write are saved by the next one."""

    def __init__(self, folder: SnapshotFolder, take: Callable[[], Snapshot]) -> None:
        self._folder = folder
        self._take = take
        self._turn = asyncio.Lock()
        self._asked = 0
        self._saved = 0
        self._failing = False

    async def save(self, kind: Kind = "snapshot") -> None:
        """Save the state, as it is now or later, and return once it is on the disk or the write has failed, which is
        logged.
        """
        self._asked += 1
        # Shielded, since a cancelled caller must not release the lock while its write still runs.
        await asyncio.shield(asyncio.create_task(self._save(kind, self._asked)))

    async def _save(self, kind: Kind, asked: int) -> None:
        async with self._turn:
            if asked <= self._saved and kind == "snapshot":
                return
            self._saved, state = self._asked, self._take()
            try:
                path = await asyncio.to_thread(self._folder.write, state, kind, time.time_ns() // 1_000_000)
            except OSError as error:
                self._failing = True
                log.error("The snapshot could not be written, and the server goes on without: %s", error)
                return
            if self._failing:
                self._failing = False
                log.info("Snapshots can be written again: %s", path)
