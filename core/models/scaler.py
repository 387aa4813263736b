"""Scaler: decides once a second how many workers a model version should have, and has its pool change their number."""

from __future__ import annotations

import asyncio
import logging

from ...scheduler.autoscale import Autoscaler, Observation
from ...scheduler.model_scheduler import ModelScheduler
from ..errors import WorkersFailed
from ..workers.pool import Pool

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds


class Scaler:
    """The autoscaling of one model version. It runs only while the pool's maximum is above its minimum."""

    def __init__(self, label: str, scheduler: ModelScheduler, pool: Pool, down_after: float) -> None:
        self.arrived = 0  # requests so far, counted by the model
        self.turned_away = 0  # requests refused since the last decision for want of a free worker (useJobTicket)
        self._label = label
        self._scheduler = scheduler
        self._pool = pool
        self._autoscaler = Autoscaler(down_after)
        self._task: asyncio.Task[None] | None = None
        self._changes: set[asyncio.Task[None]] = set()

    def follow(self) -> None:
        """Begin to follow the load if the pool's bounds leave a choice. This must be called after they have changed."""
        if self._pool.maximum > self._pool.minimum and self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"scale {self._label}")

    def stop(self) -> None:
        """Stop deciding, and abandon the changes under way."""
        for task in (self._task, *self._changes):
            if task is not None:
                task.cancel()

    async def _run(self) -> None:
        while self._pool.maximum > self._pool.minimum:
            await asyncio.sleep(INTERVAL)
            try:
                self._look()
            except Exception:
                log.exception("%s: its number of workers could not be decided", self._label)
        self._task = None

    def _look(self) -> None:
        scheduler, pool, decides = self._scheduler, self._pool, self._autoscaler
        if pool.unloaded:
            return
        workers = len(pool.workers)
        turned_away, self.turned_away = self.turned_away, 0
        observed = Observation(
            arrived=self.arrived,
            queued=scheduler.queued + turned_away,
            free=0 if turned_away else scheduler.free,
            seconds_per_job=scheduler.seconds_per_job,
            workers=workers,
            loading=max(0, workers - pool.ready - pool.in_state("given_up")),  # the spare may be given up, too
            minimum=pool.minimum,
            maximum=pool.maximum,
        )
        wanted = decides.wanted(observed, scheduler.now())
        if wanted != max(workers, pool.minimum):  # the pool itself restores its minimum
            log.info(
                "%s: %d workers become %d; its load is %.2f workers, and %d requests wait",
                *(self._label, workers, wanted, decides.load, scheduler.queued),
            )
            # Not awaited: a worker may take minutes to load, and the next decision may be to do without it.
            task = asyncio.create_task(self._change(wanted))
            self._changes.add(task)
            task.add_done_callback(self._changes.discard)

    async def _change(self, wanted: int) -> None:
        try:
            await self._pool.resize(wanted)
        except WorkersFailed as error:
            self._autoscaler.failed(self._scheduler.now())
            log.warning("%s stays with the workers it has: %s", self._label, error)
