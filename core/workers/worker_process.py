"""WorkerProcess: what a Worker needs of its process, wherever that runs; and how a process's end is told."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Protocol

from ..wire.messages import Load
from .lent_requests import LentRequests
from .shared_memory import Results


class WorkerProcess(Protocol):
    """A process of a worker, on this host or another one.

    `exited` resolves to its return code; `ending` then says how it ended if the code doesn't. `where` is " on node N"
    for another host, and `gpus` then how many GPUs it has there. `pids` are those of its own host, `memory`
    the bytes of host memory that it has in use.
    """

    exited: asyncio.Future[int]

    @property
    def where(self) -> str: ...
    @property
    def ending(self) -> str: ...
    @property
    def gpus(self) -> float: ...
    @property
    def results(self) -> Results | None: ...
    @property
    def lent(self) -> LentRequests | None: ...
    @property
    def pids(self) -> Sequence[int]: ...
    @property
    def memory(self) -> int: ...

    async def connect(self, protocol: asyncio.BufferedProtocol) -> None:
        """Connect `protocol` to the process. Raises LoadFailed."""

    def localized(self, load: Load) -> Load:
        """Return `load` with what is special to the process's host."""
        ...

    def abandon(self) -> None:
        """Close the connection, which no protocol has."""

    def settle(self) -> None:
        """Note that all of the processes have started."""

    async def stacks(self) -> str:
        """Return the Python stacks of all its threads, whatever they do. Raises StacksUnknown."""
        ...

    def kill(self) -> None:
        """Kill the process and whatever it started. Nothing happens if it has ended already."""


def describe_exit(code: int) -> str:
    """Return what a process with that return code did: exited, or was killed by a signal."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
