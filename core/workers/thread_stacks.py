"""The stacks of a worker's threads: read by a thread of the front, and logged when a worker that hangs is killed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from ..process_stacks import StacksUnknown, read_stacks, shortened
from .worker_process import WorkerProcess

log = logging.getLogger(__name__)

LAST_WORDS: Final = 2.0  # seconds for which a process that hangs lives on, so that its stacks can be read
_LINES: Final = 60  # of stacks that are logged


class ThreadStacks:
    """The stacks of a worker's processes on this host. Who asks while they are being read gets the same ones."""

    def __init__(self, pids: Callable[[], Sequence[int]]) -> None:
        self._pids = pids
        self._reading: asyncio.Task[str] | None = None

    async def read(self) -> str:
        """Return the stacks of all threads. Raises StacksUnknown."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(asyncio.to_thread(_read_all, tuple(self._pids())))
            self._reading.add_done_callback(_retrieve)
        return await asyncio.shield(self._reading)


def _read_all(pids: Sequence[int]) -> str:
    if len(pids) == 1:
        return read_stacks(pids[0])
    told: list[str] = []
    for rank, pid in enumerate(pids):
        try:
            told.append(f"Rank {rank}, process {pid}\n\n{read_stacks(pid)}")
        except StacksUnknown as error:
            told.append(f"Rank {rank}: {error}\n")
    return "\n".join(told)


async def kill_hung(worker: str, reason: str, process: WorkerProcess) -> None:
    """Log what the threads of a process do that hangs for `reason`, then kill it, whatever becomes of the first."""
    try:
        async with asyncio.timeout(LAST_WORDS):
            stacks = await process.stacks()
    except StacksUnknown as error:
        log.error("%s %s. What it does is not known: %s", worker, reason, error)
    except TimeoutError:
        log.error("%s %s. What it does is not known: it did not tell in %g s", worker, reason, LAST_WORDS)
    else:
        log.error("%s %s. Its threads, the innermost call first:\n%s", worker, reason, shortened(stacks, _LINES))
    finally:
        process.kill()


def _retrieve(task: asyncio.Task[str]) -> None:
    """Mark a failure as seen, in case nobody waits for it any more."""
    if not task.cancelled():
        task.exception()
