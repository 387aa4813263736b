"""OnDemandModel: a model version that is unloaded when its GPU memory is needed, and reloaded by its next request."""

from __future__ import annotations

import asyncio
import logging

from ...scheduler.model_scheduler import ModelScheduler
from ..errors import ServeError
from ..workers.pool import Pool

log = logging.getLogger(__name__)


class OnDemandModel:
    """An onDemand model as OnDemandEviction sees it."""

    def __init__(self, name: str, scheduler: ModelScheduler, pool: Pool, residency: float) -> None:
        """It stays for at least `residency` seconds, once it serves, whatever other onDemand models want."""
        self.name = name
        self.used = 0.0
        self._scheduler = scheduler
        self._pool = pool
        self._residency = residency
        self._coming: asyncio.Task[None] | None = None

    @property
    def workers(self) -> frozenset[str]:
        return frozenset(slot.name for slot in self._pool.slots)

    @property
    def wanted(self) -> bool:
        return self._scheduler.queued > 0

    @property
    def serves(self) -> bool:
        return self._pool.ready == len(self._pool.workers)

    @property
    def idle(self) -> bool:
        return self.serves and not self._scheduler.queued and not self._scheduler.running

    @property
    def stays_until(self) -> float:
        return self._pool.ready_since + self._residency

    async def leave(self, *, busy: bool) -> None:
        await self._pool.unload(lambda: busy or self.idle)
        if self._scheduler.queued:
            self._return()

    def called(self) -> None:
        """Record a request, and reload the model if it is unloaded."""
        self.used = asyncio.get_running_loop().time()
        self._return()

    def _return(self) -> None:
        if self._pool.unloaded and self._coming is None:
            self._coming = asyncio.create_task(self._come())

    def stop(self) -> None:
        if self._coming is not None:
            self._coming.cancel()

    async def _come(self) -> None:
        log.info("%s comes back for a request", self.name)
        try:
            await self._pool.reload()
        except ServeError as error:
            log.error("%s could not come back for its requests: %s", self.name, error)
        finally:
            self._coming = None
            if self._scheduler.queued:  # the load was postponed, and a request came meanwhile
                self._return()
