"""GpuSeats: which GPU each worker of this server sits on, and what memory of it is promised to that worker."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...scheduler.errors import GpuLoading, NoRoom
from ...scheduler.eviction import Resident, victims
from ...scheduler.gpu import Gpu, Lease
from ...scheduler.placement import Claim, place_all
from ..config.model_options import ModelOptions
from .footprints import Footprints, Need, default_path, fingerprint, need_of, weights_size
from .gpu_leases import Ledger
from .gpu_probe import GpuProbe
from .on_demand_eviction import Residents, Room

log = logging.getLogger(__name__)

LEASES = Path("/dev/shm/torchserve-gpu-leases")  # noqa: S108 - shared by all servers of the host on purpose
_SEEN_FREE = 2.0  # seconds until the driver has to show memory as free that a worker has left
_RETRY = 0.25  # seconds until a GPU that was loading, or full, is asked again
_MISSES = 2  # looks at which a GPU must be missing to count as lost

Lost = Callable[[str], None]


@dataclass(slots=True, eq=False)
class _Seat:
    """A worker's place. `before` is what was free when it came, for a driver that doesn't know the worker's pid."""

    gpu: Gpu
    lease: Lease
    key: str
    before: int
    pid: int = 0
    lost: Lost | None = None
    misses: int = 0
    remembered: int = 0


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who wants a seat."""

    worker: str
    model: str
    folder: Path
    options: ModelOptions


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a tenant needs on each of `count` GPUs; `key` is under which its footprint is kept."""

    key: str
    need: Need
    claim: Claim
    count: int


class GpuSeats:
    """Chooses by memory: free now, less what is promised to workers of all servers of this host, less a headroom."""

    def __init__(
        self,
        limit: int | None,
        *,
        headroom: int = 0,
        interval: float = 5.0,
        leases: Path = LEASES,
        footprints: Path | None = None,
    ) -> None:
        """`headroom` in bytes; every `interval` seconds the GPUs with workers on them are looked at."""
        self.residents = Residents()
        self._limit = limit
        self._headroom = headroom
        self._interval = interval
        self._probe = GpuProbe()
        self._ledger = Ledger(leases)
        self._footprints = Footprints(footprints or default_path())
        self._seats: list[_Seat] = []
        self._choosing = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    async def visible(self) -> tuple[Gpu, ...]:
        """The GPUs as they are now, at most number_of_gpu of them. Raises TimeoutError if NVML does not answer."""
        if self._limit == 0:
            return ()
        gpus = await self._probe.gpus()
        return tuple(gpu for gpu in gpus if self._limit is None or gpu.index < self._limit)

    async def take(self, tenant: Tenant) -> tuple[Gpu, ...]:
        """Choose the GPUs of a worker, all at once, and promise it memory there; mostly it is one. () means CPU: asked
        for, or no GPU is there.

        Waits while the GPU of choice loads another model, while onDemand models make room, and, if the model's config
        says so, for memory. Raises NoRoom, Postponed, ValueError for a deviceIds entry that can't be used, TimeoutError
        if NVML does not answer.
        """
        options = tenant.options
        if options.device_type == "cpu":
            return ()
        gpus = await self.visible()
        if not gpus:
            if options.device_type == "gpu":
                log.warning("%s: deviceType is gpu and no GPU is visible; it runs on the CPU", tenant.worker)
            return ()
        wish = await asyncio.to_thread(self._wish, tenant, gpus[0].name)
        waiting, began, freed = "", _now(), -math.inf
        while True:
            try:
                return await self._try(tenant, wish)
            except GpuLoading as error:
                why = str(error)
            except NoRoom as error:
                why = str(error)
                if _now() - freed > _SEEN_FREE:
                    room = await self._make_room(tenant, wish, _now() - began)
                    if room is Room.MADE:
                        freed = _now()
                        continue
                    if room is Room.NONE and options.when_no_gpu_memory == "cpu":
                        log.warning("%s runs on the CPU: %s", tenant.worker, error)
                        return ()
                    if room is Room.NONE and options.when_no_gpu_memory != "wait":
                        raise
            if why != waiting:
                log.info("%s waits: %s", tenant.worker, why)
                waiting = why
            await asyncio.sleep(_RETRY)

    async def settled(self, worker: str, pids: Sequence[int], lost: Lost) -> None:
        """`worker` has loaded its model: what it took is known now. `lost` is called if a GPU of it falls out.

        Of `pids` each is on the GPU of its position; the one of a worker that is one process is on all of them.
        """
        seats = self._of(worker)
        if not seats:
            return
        for position, seat in enumerate(seats):
            seat.pid, seat.lost = pids[position if position < len(pids) else 0], lost
        async with self._choosing, self._ledger.exclusive():
            gpus = await self._look()
            for seat in seats:
                _measure(seat, gpus)
                seat.lease = replace(seat.lease, loading=False)
            self._write()
        await self._remember()
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="gpu-watch")

    def leave(self, worker: str) -> None:
        """Its process has ended, or never began."""
        leaving = self._of(worker)
        if leaving:
            self._seats = [seat for seat in self._seats if seat not in leaving]
            self._write()

    def _of(self, worker: str) -> list[_Seat]:
        return [seat for seat in self._seats if seat.lease.worker == worker]

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        self._ledger.close()
        await self._probe.close()

    def _wish(self, tenant: Tenant, gpu_name: str) -> _Wish:
        """Reads the model's files. GPUs of one host are mostly alike: what the first is called stands for all."""
        options = tenant.options
        count = options.parallel.level if options.parallel else 1
        key = f"{fingerprint(tenant.folder)} on {gpu_name}, batch {options.batch_size}"
        key = f"{key}, one of {count}" if count > 1 else key
        need = need_of(options.gpu_memory, self._footprints.recall(key), weights_size(tenant.folder) // count)
        claim = Claim(tenant.model, need.promise, need.least, options.device_ids, self._limit)
        return _Wish(key, need, claim, count)

    async def _try(self, tenant: Tenant, wish: _Wish) -> tuple[Gpu, ...]:
        async with self._choosing, self._ledger.exclusive() as others:
            leases = [*others, *(seat.lease for seat in self._seats)]
            gpus = place_all(await self.visible(), leases, wish.claim, self._headroom, wish.count)
            for gpu in gpus:
                lease = Lease(gpu.uuid, tenant.worker, tenant.model, wish.need.promise)
                self._seats.append(_Seat(gpu, lease, wish.key, gpu.free))
            self._write()
        for gpu in gpus:
            log.info(
                "%s is placed on GPU %d (%s, %d MiB free), %d MiB are promised to it (%s)",
                *(tenant.worker, gpu.index, gpu.uuid, gpu.free >> 20, wish.need.promise >> 20, wish.need.source),
            )
        return gpus

    async def _make_room(self, tenant: Tenant, wish: _Wish, waited: float) -> Room:
        async def choose(residents: list[Resident]) -> list[Resident] | None:
            async with self._choosing, self._ledger.exclusive() as others:
                leases = [*others, *(seat.lease for seat in self._seats)]
            return victims(await self.visible(), leases, wish.claim, self._headroom, wish.count, residents)

        return await self.residents.make_room(tenant.worker, choose, waited)

    def _write(self) -> None:
        self._ledger.leases = [seat.lease for seat in self._seats]
        self._ledger.write()

    async def _look(self) -> dict[str, Gpu]:
        try:
            return {gpu.uuid: gpu for gpu in await self.visible()}
        except TimeoutError:
            log.error("NVML did not answer: the GPU driver of this host hangs")
            return {}

    async def _remember(self) -> None:
        for seat in list(self._seats):
            if seat.lease.held > seat.remembered:
                seat.remembered = seat.lease.held
                await asyncio.to_thread(self._footprints.remember, seat.key, seat.remembered)

    async def _watch(self) -> None:
        """Follow what the workers take, and tell those whose GPU is lost or sick."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                async with self._choosing, self._ledger.exclusive():
                    gpus = await self._probe.gpus()
                    by_uuid = {gpu.uuid: gpu for gpu in gpus}
                    for seat in self._seats:
                        _measure(seat, by_uuid)
                    self._write()
                await self._remember()
            except TimeoutError:
                log.error("NVML did not answer: the GPU driver of this host hangs")
                continue
            for seat in list(self._seats):
                self._check(seat, by_uuid.get(seat.gpu.uuid))

    def _check(self, seat: _Seat, gpu: Gpu | None) -> None:
        seat.misses = 0 if gpu is not None else seat.misses + 1
        reason = gpu.sick if gpu is not None else "it does not answer" if seat.misses >= _MISSES else ""
        if reason and seat.lost is not None:
            lost, seat.lost = seat.lost, None
            lost(f"GPU {seat.gpu.index} ({seat.gpu.uuid}) is lost: {reason}")


def _now() -> float:
    return asyncio.get_running_loop().time()


def _measure(seat: _Seat, gpus: dict[str, Gpu]) -> None:
    """What the worker holds, as the driver tells it; a worker that needs more than was promised is promised that."""
    gpu = gpus.get(seat.gpu.uuid)
    if gpu is None:
        return
    held = gpu.processes.get(seat.pid)
    if held is None:
        if not seat.lease.loading:
            return
        # In a container the driver's pids are the host's. One model loads at a time, so the difference is its own.
        held = max(0, seat.before - gpu.free)
    seat.lease = replace(seat.lease, held=held, need=max(seat.lease.need, held))
