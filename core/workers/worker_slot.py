"""WorkerSlot: the place of one worker in a pool, and the states that it may be in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum

from ...scheduler.gpu import Gpu
from ..wire.messages import Failure
from .worker import Worker


class SlotState(Enum):
    """The state of a slot, as drawn above."""

    LOADING = "loading"
    READY = "ready"
    WAITING = "waiting"  # for its next start, after a failure
    SPARE = "spare"  # has loaded the model, and stands by
    STOPPING = "stopping"
    GIVEN_UP = "given_up"

    __hash__ = object.__hash__  # Enum's own is a call of Python's, and each request asks whether a worker may serve


WITHOUT_HOPE = frozenset({SlotState.STOPPING, SlotState.GIVEN_UP})


@dataclass(slots=True, eq=False)
class WorkerSlot:
    """A worker's place: the worker may die and be replaced, the name and number stay."""

    number: int
    name: str
    first_start: asyncio.Future[None]
    state: SlotState = SlotState.LOADING
    worker: Worker | None = None
    gpus: tuple[Gpu, ...] = ()
    last_error: str = ""
    failed: tuple[float, Failure] | None = None  # the handler's last failure, and when (Unix time)
    brief_error: str = ""
    out_of_memory: bool = False  # why its last start failed
    recovering: bool = False
    spare: bool = False  # it stands by, or will once it has loaded: one worker more than was asked for
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def last_failure(self) -> tuple[float, Failure] | None:
        """The latest failure of this slot's worker, or of its predecessors if it has none yet."""
        return (self.worker.failed if self.worker is not None else None) or self.failed
