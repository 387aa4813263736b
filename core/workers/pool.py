"""Pool: keeps the wanted number of workers of one model version alive, and replaces those that die.

A slot is the place of one worker: its name and number stay while processes come and go. One task for each slot,
`Pool._keep`, takes it from state to state:

  _add ──► LOADING ──────────── the model has loaded ────────────► READY
            ▲    │                                                   │
            │    └─ it could not be loaded ─► WAITING ◄─ it ended ───┘
            └──────── back-off is over ──────────┘

  LOADING ─► GIVEN_UP   its loads have failed for maxRetryTimeoutInSec: the slot stays, without a task, to tell why
  LOADING ─► removed    Postponed: an onDemand model without room and without requests; for such a model also instead
                        of GIVEN_UP if it ran out of memory
  any     ─► STOPPING   a command wants fewer workers ─► removed, once the process is gone

With warmSpare in the yaml one slot more is a spare: once it has loaded it is SPARE instead of READY, and takes no
batches. It changes places with a worker that ends, and is the first worker of those that are added; another spare is
then started. A pool that is asked for no workers has none.

Commands (scale, resize, unload, reload, renew) run one after the other, under a lock; `stop` runs at once and for good.
Each may find a slot in any state, and may itself be cancelled, since its client may leave. No process is forgotten,
because

1. Launcher.launch either returns a worker or has ended whatever it began, even if it is cancelled. So a slot without a
   worker is ended by cancelling its task, and one with a worker by Worker.stop, after which the task returns;
2. a slot leaves `slots`, which management describes, only when its process is gone, so that every process is shown;
3. a command that is cancelled stops waiting, while the endings that it began continue as tasks of the pool;
4. after `stop` no slot is added, even by a command that was waiting for the lock.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from ...scheduler.backoff import Backoff
from ..errors import Draining, WorkersFailed
from ..gpus.on_demand_eviction import Postponed
from .launcher import Launcher
from .load_failed import LoadFailed
from .outages import Outages
from .worker_slot import WITHOUT_HOPE, SlotState, WorkerSlot

log = logging.getLogger(__name__)

STOP_WAIT = 30.0  # seconds a worker may take to finish its batch when the pool is made smaller


class Pool:
    """The slots of one model version. `hopeless` is called when the last slot has been given up."""

    def __init__(
        self,
        launcher: Launcher,
        label: str,
        next_number: Callable[[], int],
        max_retry: float,
        hopeless: Callable[[], None],
    ) -> None:
        self.slots: list[WorkerSlot] = []
        self.minimum = 0
        self.maximum = 0
        self.ready_since = 0.0  # when the last worker began to serve, on the event loop's clock
        self.scaled = False  # whether `scale` has been called yet
        self.outages = Outages()
        self._launcher = launcher
        self._label = label
        self._next_number = next_number
        self._max_retry = max_retry
        self._hopeless = hopeless
        self._scaling = asyncio.Lock()
        self._stopped = False
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def workers(self) -> list[WorkerSlot]:
        """The slots of workers that were asked for: all but the spare one."""
        return [slot for slot in self.slots if not slot.spare]

    @property
    def ready(self) -> int:
        return sum(slot.state is SlotState.READY for slot in self.slots)

    @property
    def may_serve(self) -> bool:
        """Whether any worker is `promising`. Each request asks for this."""
        for slot in self.slots:  # noqa: SIM110  a generator for `any` costs three times as much
            if slot.state not in WITHOUT_HOPE:
                return True
        return False

    @property
    def promising(self) -> int:
        """The number of workers that serve, or may serve soon."""
        return sum(slot.state not in WITHOUT_HOPE for slot in self.workers)

    def waits(self, slot: WorkerSlot) -> str:
        """Return why a worker that is being started has no place yet, "" if it has one or is not being started."""
        return self._launcher.waits(slot.name) if slot.state is SlotState.LOADING else ""

    def in_state(self, state: str) -> int:
        """Return how many slots are in the SlotState with this value."""
        return sum(slot.state.value == state for slot in self.slots)

    async def scale(self, minimum: int, maximum: int) -> None:
        """Bring the number of workers into minimum…maximum; return once every new one has loaded.

        Raises WorkersFailed if one could not; its slot stays and is tried again with back-off. Raises Draining if the
        pool has been stopped.
        """
        async with self._scaling:
            if self._stopped:
                raise Draining(f"{self._label} is being removed; its workers can't be scaled any more.")
            self.minimum, self.maximum, self.scaled = minimum, maximum, True
            staying = self._staying()
            wanted = min(max(len(staying), minimum), maximum)
            given_up = [slot for slot in staying[:wanted] if slot.state is SlotState.GIVEN_UP]
            spares = [slot for slot in self._spares() if not wanted or slot.state is SlotState.GIVEN_UP]
            await self._remove(staying[wanted:] + given_up + spares, STOP_WAIT)
            added = self._grow(wanted - len(self._staying()))
        await self._loaded(added)

    async def resize(self, count: int) -> None:
        """Bring the number of workers to `count`, within the bounds of the last `scale`.

        Returns once every new worker has loaded. Idle workers are the first to be removed. Raises WorkersFailed if a
        new one could not load; those that don't serve are then removed.
        """
        async with self._scaling:
            count = min(max(count, self.minimum), self.maximum)
            staying = sorted(self._staying(), key=_worth)
            await self._remove(staying[: max(0, len(staying) - count)], STOP_WAIT)
            added = self._grow(count - len(self._staying()))
        try:
            await self._loaded(added)
        except WorkersFailed:
            async with self._scaling:
                staying = self._staying()
                useless = [slot for slot in added if slot in staying and slot.state is not SlotState.READY]
                await self._remove(useless[: max(0, len(staying) - self.minimum)], 0.0)
            raise

    @property
    def unloaded(self) -> bool:
        """Whether an onDemand model is unloaded: the pool may have workers, and has none that stays."""
        return self.maximum > 0 and not self._staying()

    async def unload(self, agreed: Callable[[], bool]) -> None:
        """End all workers if `agreed` still returns True once no other command runs; the bounds stay."""
        async with self._scaling:
            if agreed():
                await self._remove(self._staying() + self._spares(), STOP_WAIT)

    async def reload(self) -> None:
        """Start workers after an `unload`: the minimum, but at least one. Raises WorkersFailed as `scale` does."""
        async with self._scaling:
            await self._remove([], STOP_WAIT)
            added = self._grow(min(max(1, self.minimum), self.maximum)) if self.unloaded else []
        await self._loaded(added)

    async def renew(self, grace: float) -> None:
        """Replace every worker by a new one, which loads the model's files as they are now; requests wait meanwhile.

        A running batch may take `grace` seconds. Raises WorkersFailed as `scale` does.
        """
        async with self._scaling:
            leaving = self._staying()
            added = self._add(len(leaving))
            await self._remove(leaving + self._spares(), grace)
            self._keep_spare()
        await self._loaded(added)

    async def stop(self, grace: float) -> None:
        """End all workers for good. A running batch may take `grace` seconds, whatever other commands allow."""
        self._stopped = True
        self.minimum = self.maximum = 0
        await self._remove(list(self.slots), grace)

    async def _loaded(self, added: list[WorkerSlot]) -> None:
        results = await asyncio.gather(*(asyncio.shield(slot.first_start) for slot in added), return_exceptions=True)
        if added and self._stopped:
            raise Draining(f"{self._label} is being removed, and its workers with it.")
        failed = [result for result in results if isinstance(result, LoadFailed)]
        if failed:
            raise WorkersFailed(self._launcher.told(failed[0]), out_of_memory=failed[0].out_of_memory)

    def _staying(self) -> list[WorkerSlot]:
        """Return the slots of workers that nothing ends, without the spare one."""
        return [slot for slot in self.workers if slot.state is not SlotState.STOPPING]

    def _spares(self) -> list[WorkerSlot]:
        """Return the spare one's slot, if there is one."""
        return [slot for slot in self.slots if slot.spare and slot.state is not SlotState.STOPPING]

    def _grow(self, count: int) -> list[WorkerSlot]:
        """Add so many workers, the spare one first, and have another spare if the model has one."""
        promoted = self._spares() if count > 0 else []
        for slot in promoted:
            self._promote(slot)
        added = promoted + self._add(count - len(promoted))
        self._keep_spare()
        return added

    def _keep_spare(self) -> None:
        if self._launcher.options.warm_spare and self._staying() and not self._spares():
            self._add(1, spare=True)

    def _promote(self, slot: WorkerSlot) -> None:
        """Have the spare worker serve, at once or when it has loaded."""
        slot.spare = False
        if slot.state is SlotState.SPARE:
            self._open(slot)

    def _take_over(self, slot: WorkerSlot) -> None:
        """Have the spare worker serve, if it has loaded, in the place of one that doesn't, whose slot is the spare's
        then.
        """
        for spare in self._spares():
            if spare.state is SlotState.SPARE and not slot.spare:
                log.info("%s, the warm spare, takes over from %s", spare.name, slot.name)
                self._promote(spare)
                slot.spare = True

    def _open(self, slot: WorkerSlot) -> None:
        assert slot.worker is not None
        slot.state = SlotState.READY
        self.ready_since = asyncio.get_running_loop().time()
        self.outages.began(slot)
        slot.worker.open()

    def _add(self, count: int, *, spare: bool = False) -> list[WorkerSlot]:
        added: list[WorkerSlot] = []
        for _ in range(0 if self._stopped else count):
            number = self._next_number()
            slot = WorkerSlot(number, f"W-{number}-{self._label}", asyncio.get_running_loop().create_future())
            slot.spare = spare
            slot.first_start.add_done_callback(_retrieve)
            slot.task = asyncio.create_task(self._keep(slot), name=slot.name)
            added.append(slot)
        self.slots += added
        return added

    async def _remove(self, slots: list[WorkerSlot], grace: float) -> None:
        """End the workers of `slots`, and return when these and all that were being ended before are gone."""
        for slot in slots:
            slot.state = SlotState.STOPPING
            ending = asyncio.create_task(self._end(slot, grace), name=f"end {slot.name}")
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
        if self._endings:
            await asyncio.wait(list(self._endings))  # wait() does not cancel them if this command is cancelled

    async def _end(self, slot: WorkerSlot, grace: float) -> None:
        assert slot.task is not None
        if slot.worker is not None:
            await slot.worker.stop(grace)  # the slot's task returns then
        elif not slot.task.cancelling():  # a second cancellation would interrupt the clean-up after the first
            slot.task.cancel()
        await asyncio.wait([slot.task])
        self._withdraw(slot)

    async def _keep(self, slot: WorkerSlot) -> None:
        """Take a slot from state to state, as drawn above, until it is stopped, given up or withdrawn."""
        backoff = Backoff(self._max_retry)
        while True:
            try:
                loaded = await self._load(slot)
            except Postponed:
                log.info("%s is not started: there is no room on a GPU, and no request for it yet", slot.name)
                self._withdraw(slot)
                return
            cause, at_once = "load_failed", False
            if loaded:
                backoff.reset()
                cause, at_once = await self._serve(slot)
            if slot.state is SlotState.STOPPING:
                return
            self._take_over(slot)
            delay = 0.0 if at_once else backoff.next(asyncio.get_running_loop().time())
            _tell(slot, loaded=loaded)
            if delay is None:
                self._give_up(slot)
                if slot.out_of_memory and self._launcher.options.on_demand:  # there may be room at the next request
                    self._withdraw(slot)
                return
            slot.state = SlotState.WAITING
            log.info("Retry worker: %d in %g seconds.", slot.number, delay)
            await asyncio.sleep(delay)
            slot.state = SlotState.LOADING
            self._launcher.observer.restarting(slot.name, cause)

    async def _load(self, slot: WorkerSlot) -> bool:
        """Start a worker for a slot that is LOADING. Return whether it serves now. Raises Postponed."""
        began = asyncio.get_running_loop().time()
        try:
            worker, gpus = await self._launcher.launch(slot.name, len(self.workers) or 1)
        except LoadFailed as error:
            self._failed(slot, error)
            return False
        except Postponed:
            raise
        except Exception as error:
            log.exception("%s could not be started", slot.name)
            self._failed(slot, LoadFailed(f"{slot.name} could not be started: {type(error).__name__}: {error}"))
            return False
        slot.worker, slot.gpus = worker, gpus
        if slot.state is SlotState.STOPPING:  # the cancellation was swallowed on the way
            await worker.stop(0.0)
            return True
        slot.state = SlotState.SPARE
        lame = [other for other in self._staying() if other.state in {SlotState.WAITING, SlotState.GIVEN_UP}]
        if not slot.spare:
            self._open(slot)
        elif lame:
            self._take_over(lame[0])
        slot.last_error = ""
        if slot.recovering:
            log.info("Auto recovery succeeded, reset recoveryStartTS")
            slot.recovering = False
        self._launcher.observer.loaded(slot.name, (asyncio.get_running_loop().time() - began) * 1000.0)
        if not slot.first_start.done():
            slot.first_start.set_result(None)
        return True

    def _failed(self, slot: WorkerSlot, error: LoadFailed) -> None:
        slot.last_error, slot.brief_error = str(error), error.brief
        slot.out_of_memory = error.out_of_memory
        if error.failure is not None:
            slot.failed = (time.time(), error.failure)
        if not slot.first_start.done():
            slot.first_start.set_exception(error)

    async def _serve(self, slot: WorkerSlot) -> tuple[str, bool]:
        """Wait until the worker of a READY slot has ended.

        Return the cause in one word, and whether its successor may be started at once: if the end was not the model's
        fault, or the model has worked before.
        """
        worker = slot.worker
        assert worker is not None
        reason = await asyncio.shield(worker.ended)
        self.outages.ended(slot)
        self._launcher.gpu_allocator.release(slot.name)
        slot.failed = slot.last_failure
        slot.worker, slot.gpus = None, ()
        slot.last_error = f"{slot.name} {reason}"
        return worker.cause, worker.has_answered or worker.cause == "gpu_lost"

    def _give_up(self, slot: WorkerSlot) -> None:
        slot.state = SlotState.GIVEN_UP
        log.error("%s is given up: it could not be started for %g s (maxRetryTimeoutInSec)", slot.name, self._max_retry)
        if not self.promising:
            self._hopeless()

    def _withdraw(self, slot: WorkerSlot) -> None:
        """Take a slot without a process out of the pool, and release those who wait for its first start."""
        slot.state = SlotState.STOPPING
        if slot in self.slots:
            self.slots.remove(slot)
        if not slot.first_start.done():
            slot.first_start.set_result(None)


def _worth(slot: WorkerSlot) -> tuple[bool, bool, int]:
    """Return the order in which slots are removed: first those that don't serve, then idle ones, then new ones."""
    return slot.state is SlotState.READY, slot.worker is not None and slot.worker.busy, -slot.number


def _tell(slot: WorkerSlot, *, loaded: bool) -> None:
    """Log the end of a worker in TorchServe's words, which people's searches and alerts look for."""
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
    """Mark a failure as seen, so that asyncio does not warn of it if no caller waits for the start."""
    if not future.cancelled():
        future.exception()
