"""OnDemandModel: a model version that is unloaded when its GPU memory is needed, and reloaded by its next request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...scheduler.model_scheduler import ModelScheduler
from ..errors import ServeError
from ..workers.pool import Pool
from .load_wait import LoadWait

if TYPE_CHECKING:
    from ...scheduler.job import Sink

log = logging.getLogger(__name__)

# Why requests wait for a model to load, in one word.
UNLOADED = "unloaded"  # it was, as its GPU memory was needed
NOT_LOADED = "not_loaded"  # it has not been loaded before: there was no room, or nobody had asked for workers
STARTING = "starting"  # its workers were being started, or started anew, before the request came


class OnDemandModel:
    """An onDemand model as OnDemandEviction sees it, and what its requests are told of its loads.

    `loads` counts the times that it has come back for a request.
    """

    def __init__(
        self, name: str, scheduler: ModelScheduler, pool: Pool, residency: float, waited: Callable[[float], None]
    ) -> None:
        """It stays for at least `residency` seconds, once it serves, whatever other onDemand models want.

        `waited` is called for each request that has waited for a load, with the seconds.
        """
        self.name = name
        self.used = 0.0
        self.loads = 0
        self.last_load = 0.0  # seconds that the latest one took
        self.waited = waited
        self._caused = -1, STARTING  # an outage's number, and its cause
        self._needed_by = ""
        self._waiting = 0  # requests that were queued when it stopped to serve, or have come since
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

    @property
    def outage(self) -> float:
        """The seconds in which no worker of the model has served, so far."""
        return self._pool.outages.seconds

    @property
    def cause(self) -> str:
        """Why no worker served of late, in one word."""
        number, cause = self._caused
        return cause if number == self._pool.outages.number else STARTING

    def watch(self, sink: Sink) -> Sink:
        """Return a sink for a request, which tells it for how long it has waited for the model to load."""
        return LoadWait(sink, self)

    async def leave(self, *, busy: bool, worker: str) -> None:
        await self._pool.unload(lambda: busy or self.idle)
        if self._pool.unloaded:
            self._caused, self._needed_by = (self._pool.outages.number, UNLOADED), worker
            self._waiting = self._scheduler.queued
        if self._scheduler.queued:
            self._return()

    def called(self) -> None:
        """Record a request, and reload the model if it is unloaded."""
        self.used = asyncio.get_running_loop().time()
        if self._pool.outages.going_on:
            self._waiting += 1
            self._return()

    def _return(self) -> None:
        if self._pool.unloaded and self._coming is None:
            if self.cause == STARTING:
                self._caused = self._pool.outages.number, NOT_LOADED
            self._coming = asyncio.create_task(self._come())

    def stop(self) -> None:
        if self._coming is not None:
            self._coming.cancel()

    def described(self) -> dict[str, Any]:
        """Return what describing the model shows of its loads."""
        state = "UNLOADED" if self._pool.unloaded else "LOADING" if self._pool.outages.going_on else "READY"
        entry: dict[str, Any] = {"status": state, "loads": self.loads}
        if self.loads:
            entry |= {"lastLoadMs": round(self.last_load * 1e3), "lastLoadCause": self.cause}
        if self._needed_by:
            entry["unloadedFor"] = self._needed_by
        return entry

    async def _come(self) -> None:
        log.info("%s comes back for a request", self.name)
        began = asyncio.get_running_loop().time()
        try:
            await self._pool.reload()
        except ServeError as error:
            log.error("%s could not come back for its requests: %s", self.name, error)
        else:
            self._tell(asyncio.get_running_loop().time() - began)
        finally:
            self._coming = None
            if self._scheduler.queued:  # the load was postponed, and a request came meanwhile
                self._return()

    def _tell(self, seconds: float) -> None:
        """Log a load that has ended, unless it was postponed."""
        if self._pool.unloaded:
            return
        self.loads += 1
        self.last_load = seconds
        needed = f"it had been unloaded, since {self._needed_by} needed its GPU memory"
        log.info(
            "%s serves after %.1f s, in which %d requests waited for it: %s",
            self.name, seconds, self._waiting, needed if self.cause == UNLOADED else "it had not been loaded before",
        )  # fmt: skip
        self._waiting = 0
