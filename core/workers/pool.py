"""Pool: keeps the wanted number of workers of one model version alive, restarting the dead with back-off."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from ...scheduler.backoff import Backoff
from ...scheduler.gpu import Gpu
from ..errors import WorkersFailed
from ..gpus.on_demand_eviction import Postponed
from ..wire.messages import Failure
from .launcher import Launcher
from .worker import LoadFailed, Worker

log = logging.getLogger(__name__)

STOP_WAIT = 30.0  # seconds a worker may take to finish its batch when the pool is made smaller


class SlotState(Enum):
    """Where a worker's place stands."""

    LOADING = "loading"
    READY = "ready"
    WAITING = "waiting"  # for its next start, after a failure
    STOPPING = "stopping"
    GIVEN_UP = "given_up"


_WITHOUT_HOPE = frozenset({SlotState.STOPPING, SlotState.GIVEN_UP})


@dataclass(slots=True, eq=False)
class Slot:
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
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def last_failure(self) -> tuple[float, Failure] | None:
        """Of its worker or, where that has none, of those before it."""
        return (self.worker.failed if self.worker is not None else None) or self.failed


class Pool:
    """All slots of a model version. `hopeless` is called when the last slot has been given up."""

    def __init__(
        self,
        launcher: Launcher,
        label: str,
        next_number: Callable[[], int],
        max_retry: float,
        hopeless: Callable[[], None],
    ) -> None:
        self.slots: list[Slot] = []
        self.minimum = 0
        self.maximum = 0
        self.ready_since = 0.0  # when the last worker began to serve, on the event loop's clock
        self.scaled = False  # whether anybody has said yet how many workers there should be
        self._launcher = launcher
        self._label = label
        self._next_number = next_number
        self._max_retry = max_retry
        self._hopeless = hopeless
        self._scaling = asyncio.Lock()

    @property
    def ready(self) -> int:
        return sum(slot.state is SlotState.READY for slot in self.slots)

    @property
    def may_serve(self) -> bool:
        """Whether any worker is `promising`. Each request asks."""
        for slot in self.slots:  # noqa: SIM110  a generator for `any` costs three times as much
            if slot.state not in _WITHOUT_HOPE:
                return True
        return False

    @property
    def promising(self) -> int:
        """How many workers serve, or may serve soon."""
        return sum(slot.state not in _WITHOUT_HOPE for slot in self.slots)

    def in_state(self, state: str) -> int:
        """How many slots are in the SlotState of this value."""
        return sum(slot.state.value == state for slot in self.slots)

    async def scale(self, minimum: int, maximum: int) -> None:
        """Bring the number of workers into minimum…maximum; returns when every new one has loaded.

        Raises WorkersFailed if one could not; it stays in place and is tried again with back-off.
        """
        async with self._scaling:
            self.minimum, self.maximum, self.scaled = minimum, maximum, True
            wanted = min(max(len(self.slots), minimum), maximum)
            leaving = self.slots[wanted:]
            given_up = [slot for slot in self.slots[:wanted] if slot.state is SlotState.GIVEN_UP]
            await self._remove(leaving + given_up, STOP_WAIT)
            added = [self._add() for _ in range(wanted - len(self.slots))]
        await self._loaded(added)

    async def resize(self, count: int) -> None:
        """As many workers as `count`, within the bounds of the last `scale`; returns when every new one has loaded.

        Raises WorkersFailed if one could not: those that don't serve are not kept then. Of too many the idle go.
        """
        async with self._scaling:
            count = min(max(count, self.minimum), self.maximum)
            await self._remove(sorted(self.slots, key=_worth)[: max(0, len(self.slots) - count)], STOP_WAIT)
            added = [self._add() for _ in range(count - len(self.slots))]
        try:
            await self._loaded(added)
        except WorkersFailed:
            async with self._scaling:
                useless = [slot for slot in added if slot in self.slots and slot.state is not SlotState.READY]
                await self._remove(useless[: max(0, len(self.slots) - self.minimum)], 0.0)
            raise

    @property
    def resting(self) -> bool:
        """It may have workers, and has none or none that stays: one of an onDemand model, until `rise`."""
        return self.maximum > 0 and all(slot.state is SlotState.STOPPING for slot in self.slots)

    async def rest(self, agreed: Callable[[], bool]) -> None:
        """End all workers, if `agreed` still holds; the bounds stay."""
        async with self._scaling:
            if agreed():
                await self._remove(list(self.slots), STOP_WAIT)

    async def rise(self) -> None:
        """After a `rest`: as many workers as the minimum, and one at least. Raises WorkersFailed as `scale` does."""
        async with self._scaling:
            added = [self._add() for _ in range(min(max(1, self.minimum), self.maximum))] if self.resting else []
        await self._loaded(added)

    async def renew(self, grace: float) -> None:
        """Replace every worker by a new one, which loads the model's files as they are now; what waits, waits for it.

        A batch that still runs may take `grace` seconds. Raises WorkersFailed as `scale` does.
        """
        async with self._scaling:
            leaving = list(self.slots)
            added = [self._add() for _ in leaving]
            await self._remove(leaving, grace)
        await self._loaded(added)

    async def _loaded(self, added: list[Slot]) -> None:
        results = await asyncio.gather(*(asyncio.shield(slot.first_start) for slot in added), return_exceptions=True)
        failed = [result for result in results if isinstance(result, LoadFailed)]
        if failed:
            raise WorkersFailed(self._launcher.told(failed[0]), out_of_memory=failed[0].out_of_memory)

    async def stop(self, grace: float) -> None:
        """End all workers; a batch that still runs may take `grace` seconds."""
        async with self._scaling:
            self.minimum = self.maximum = 0
            await self._remove(list(self.slots), grace)

    def _add(self) -> Slot:
        number = self._next_number()
        slot = Slot(number, f"W-{number}-{self._label}", asyncio.get_running_loop().create_future())
        slot.first_start.add_done_callback(_retrieve)
        slot.task = asyncio.create_task(self._keep(slot), name=slot.name)
        self.slots.append(slot)
        return slot

    async def _remove(self, slots: list[Slot], grace: float) -> None:
        for slot in slots:
            slot.state = SlotState.STOPPING
        await asyncio.gather(*(self._end(slot, grace) for slot in slots))
        self.slots = [slot for slot in self.slots if slot not in slots]

    async def _end(self, slot: Slot, grace: float) -> None:
        assert slot.task is not None
        if slot.worker is not None:
            await slot.worker.stop(grace)  # its end ends the task
        else:
            slot.task.cancel()
        await asyncio.wait([slot.task])

    async def _keep(self, slot: Slot) -> None:
        """One slot's life: start, serve until the process ends, wait, start again."""
        backoff = Backoff(self._max_retry)
        while True:
            try:
                started = await self._start(slot)
            except Postponed:
                log.info("%s is not started: there is no room on a GPU, and no request for it yet", slot.name)
                self._withdraw(slot)
                return
            delay, cause = None, "load_failed"
            if started and slot.worker is not None:
                backoff.reset()
                worker = slot.worker
                reason = await asyncio.shield(worker.ended)
                self._vacate(slot)
                slot.last_error, cause = f"{slot.name} {reason}", worker.cause
                if worker.has_answered or worker.cause == "gpu_lost":
                    delay = 0.0  # it was not its fault: its successor need not wait
            if slot.state is SlotState.STOPPING:
                return
            if delay is None:
                delay = backoff.next(asyncio.get_running_loop().time())
            _tell(slot, loaded=started)
            if delay is None:
                self._give_up(slot)
                if slot.out_of_memory and self._launcher.options.on_demand:  # that may be otherwise at its next request
                    self._withdraw(slot)
                return
            slot.state = SlotState.WAITING
            log.info("Retry worker: %d in %g seconds.", slot.number, delay)
            await asyncio.sleep(delay)
            slot.state = SlotState.LOADING
            self._launcher.observer.restarting(slot.name, cause)

    def _give_up(self, slot: Slot) -> None:
        slot.state = SlotState.GIVEN_UP
        log.error("%s is given up: it could not be started for %g s (maxRetryTimeoutInSec)", slot.name, self._max_retry)
        if not self.promising:
            self._hopeless()

    def _withdraw(self, slot: Slot) -> None:
        slot.state = SlotState.STOPPING
        if slot in self.slots:
            self.slots.remove(slot)
        if not slot.first_start.done():
            slot.first_start.set_result(None)

    async def _start(self, slot: Slot) -> bool:
        started = asyncio.get_running_loop().time()
        try:
            slot.worker, slot.gpus = await self._launcher.launch(slot.name, len(self.slots))
        except LoadFailed as error:
            slot.last_error, slot.brief_error = str(error), error.brief
            slot.out_of_memory = error.out_of_memory
            if error.failure is not None:
                slot.failed = (time.time(), error.failure)
            if not slot.first_start.done():
                slot.first_start.set_exception(error)
            return False
        except asyncio.CancelledError:
            slot.first_start.cancel()
            raise
        if slot.state is SlotState.STOPPING:  # decided in the moment between its load and this line
            await slot.worker.stop(0.0)
            self._vacate(slot)
            slot.first_start.cancel()
            return False
        slot.state = SlotState.READY
        self.ready_since = asyncio.get_running_loop().time()
        slot.last_error = ""
        if slot.recovering:
            log.info("Auto recovery succeeded, reset recoveryStartTS")
            slot.recovering = False
        self._launcher.observer.loaded(slot.name, (asyncio.get_running_loop().time() - started) * 1000.0)
        if not slot.first_start.done():
            slot.first_start.set_result(None)
        return True

    def _vacate(self, slot: Slot) -> None:
        self._launcher.seats.leave(slot.name)
        slot.failed = slot.last_failure
        slot.worker, slot.gpus = None, ()


def _worth(slot: Slot) -> tuple[bool, bool, int]:
    """Those that are missed least come first: they don't serve, are idle, are new."""
    return slot.state is SlotState.READY, slot.worker is not None and slot.worker.busy, -slot.number


def _tell(slot: Slot, *, loaded: bool) -> None:
    """In the words that TorchServe's log has for it, which people's searches and alerts look for."""
    if loaded:
        log.error("Backend worker error: %s", slot.last_error)
        log.info("%s Worker disconnected.", slot.name)
    else:
        log.error("Backend worker error\norg.pytorch.serve.wlm.WorkerInitializationException: %s", slot.brief_error)
    if slot.recovering:
        log.warning("Auto recovery failed again")
    else:
        slot.recovering = True
        log.info("Auto recovery start timestamp: %d", time.time() * 1000)


def _retrieve(future: asyncio.Future[None]) -> None:
    """Mark a failure as seen, so that a start nobody waited for does not warn when it is collected."""
    if not future.cancelled():
        future.exception()
