"""GpuAllocator: places each new worker on a GPU, and follows what it takes of that GPU's memory until it ends.

A request to place a worker (`allocate`) goes through these states; each arrow back is a new look at the GPUs:

    no GPU is visible, or deviceType is cpu ───────────────────────────────► runs on the CPU
    a GPU has room ── memory is promised (a Lease) ────────────────────────► placed, `loading`
    the GPU of choice loads another model ── wait _RETRY ──┐
    no GPU has room                                        ├──► look again
      ├─ onDemand models can go: they are ended ───────────┤
      ├─ they will be able to go, or whenNoGpuMemory: wait ┘
      ├─ whenNoGpuMemory: cpu ─────────────────────────────────────────────► runs on the CPU
      └─ otherwise ────────────────────────────────────────────────────────► NoRoom

A placed worker is `loading` until `settled` measures what its model took; the difference in free memory while it loads
is its own, since one model loads on a GPU at a time. From then on the watch renews that figure, and calls the worker's
`lost` when its GPU has fallen out or is sick.
"""

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
from .gpu_leases import GpuLeases
from .gpu_probe import GpuProbe
from .on_demand_eviction import OnDemandEviction, Room

log = logging.getLogger(__name__)

LEASES = Path("/dev/shm/torchserve-gpu-leases")  # noqa: S108 - shared by all servers of the host on purpose
_SEEN_FREE = 2.0  # seconds until the driver has to show memory as free that a worker has left
_RETRY = 0.25  # seconds until a GPU that was loading, or full, is asked again
_MISSES = 2  # looks at which a GPU must be missing to count as lost

Lost = Callable[[str], None]


@dataclass(slots=True, eq=False)
class _Allocation:
    """A worker's place on one GPU.

    `before` is what was free there when the worker came, in bytes: the measure for a driver that doesn't know the
    worker's pid. `key` is the one under which the model's footprint is kept.
    """

    gpu: Gpu
    lease: Lease
    key: str
    before: int
    pid: int = 0
    lost: Lost | None = None
    misses: int = 0
    remembered: int = 0


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """A request to place one worker on one or more GPUs. `folder` has the files of the unpacked model."""

    worker: str
    model: str
    folder: Path
    options: ModelOptions


@dataclass(frozen=True, slots=True)
class _Requirement:
    """The memory that a worker needs on each of `count` GPUs; `key` is the one under which its footprint is kept."""

    key: str
    need: Need
    claim: Claim
    count: int


@dataclass(slots=True)
class _Wait:
    """A request's wait since `began`; memory was last made free for it at `freed`; `logged` is the last reason told."""

    began: float
    freed: float = -math.inf
    logged: str = ""


class GpuAllocator:
    """The placement of workers by GPU memory: what is free, less all servers' promises, less a headroom."""

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
        self.on_demand = OnDemandEviction()
        self._limit = limit
        self._headroom = headroom
        self._interval = interval
        self._probe = GpuProbe()
        self._leases = GpuLeases(leases)
        self._footprints = Footprints(footprints or default_path())
        self._allocations: list[_Allocation] = []
        self._choosing = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    async def visible(self) -> tuple[Gpu, ...]:
        """Return the GPUs as they are now, at most number_of_gpu. Raises TimeoutError if NVML does not answer."""
        if self._limit == 0:
            return ()
        gpus = await self._probe.gpus()
        return tuple(gpu for gpu in gpus if self._limit is None or gpu.index < self._limit)

    @property
    def leases(self) -> list[Lease]:
        """What is promised to this server's workers now."""
        return [allocation.lease for allocation in self._allocations]

    async def allocate(self, request: PlacementRequest) -> tuple[Gpu, ...]:
        """Choose the GPUs of a worker, all at once, and promise it memory there. () means the CPU.

        Waits while the GPU of choice loads another model, while onDemand models make room, and, if the model's config
        says so, for memory. Raises NoRoom, Postponed, ValueError for a deviceIds entry that can't be used, TimeoutError
        if NVML does not answer.
        """
        gpus = () if request.options.device_type == "cpu" else await self.visible()
        if not gpus:
            if request.options.device_type == "gpu":
                log.warning("%s: deviceType is gpu and no GPU is visible; it runs on the CPU", request.worker)
            return ()
        requirement = await asyncio.to_thread(self._requirement_of, request, gpus[0].name)
        wait = _Wait(began=_now())
        while True:
            try:
                return await self._try(request, requirement)
            except GpuLoading as error:
                reason = str(error)
            except NoRoom as error:
                reason = str(error)
                room = await self._room_for(request, requirement, wait)
                if room is Room.MADE:
                    continue
                if room is Room.NONE and request.options.when_no_gpu_memory == "cpu":
                    log.warning("%s runs on the CPU: %s", request.worker, error)
                    return ()
                if room is Room.NONE and request.options.when_no_gpu_memory != "wait":
                    raise
            if reason != wait.logged:
                log.info("%s waits: %s", request.worker, reason)
                wait.logged = reason
            await asyncio.sleep(_RETRY)

    async def _room_for(self, request: PlacementRequest, requirement: _Requirement, wait: _Wait) -> Room:
        """Have onDemand models make room, and return what there is to hope for. Raises Postponed."""
        if _now() - wait.freed <= _SEEN_FREE:
            return Room.COMING  # the driver has not shown yet as free what was made free
        room = await self._make_room(request, requirement, _now() - wait.began)
        if room is Room.MADE:
            wait.freed = _now()
        return room

    async def settled(self, worker: str, pids: Sequence[int], lost: Lost) -> None:
        """Record that `worker` has loaded its model, and measure what it took. `lost` is called if its GPU falls out.

        Of `pids` each is on the GPU of its position; the one of a worker that is one process is on all of them.
        """
        allocations = self._of(worker)
        if not allocations:
            return
        for position, allocation in enumerate(allocations):
            allocation.pid, allocation.lost = pids[position if position < len(pids) else 0], lost
        async with self._choosing, self._leases.exclusive():
            gpus = await self._look()
            for allocation in allocations:
                _measure(allocation, gpus)
                allocation.lease = replace(allocation.lease, loading=False)
            self._write()
        await self._remember()
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="gpu-watch")

    def release(self, worker: str) -> None:
        """Take back what was promised to a worker whose process has ended, or never began."""
        leaving = self._of(worker)
        if leaving:
            self._allocations = [allocation for allocation in self._allocations if allocation not in leaving]
            self._write()

    def _of(self, worker: str) -> list[_Allocation]:
        return [allocation for allocation in self._allocations if allocation.lease.worker == worker]

    async def close(self) -> None:
        """End the watch and the driver's process, and take back all promises."""
        if self._watching is not None:
            self._watching.cancel()
        self._leases.close()
        await self._probe.close()

    def _requirement_of(self, request: PlacementRequest, gpu_name: str) -> _Requirement:
        """Read from the model's files what it needs. The first GPU's name stands for all of a host."""
        options = request.options
        count = options.parallel.level if options.parallel else 1
        key = f"{fingerprint(request.folder)} on {gpu_name}, batch {options.batch_size}"
        key = f"{key}, one of {count}" if count > 1 else key
        need = need_of(options.gpu_memory, self._footprints.recall(key), weights_size(request.folder) // count)
        claim = Claim(request.model, need.promise, need.least, options.device_ids, self._limit)
        return _Requirement(key, need, claim, count)

    async def _try(self, request: PlacementRequest, requirement: _Requirement) -> tuple[Gpu, ...]:
        async with self._choosing, self._leases.exclusive() as others:
            leases = [*others, *(allocation.lease for allocation in self._allocations)]
            gpus = place_all(await self.visible(), leases, requirement.claim, self._headroom, requirement.count)
            for gpu in gpus:
                lease = Lease(gpu.uuid, request.worker, request.model, requirement.need.promise)
                self._allocations.append(_Allocation(gpu, lease, requirement.key, gpu.free))
            self._write()
        for gpu in gpus:
            log.info(
                "%s is placed on GPU %d (%s, %d MiB free), %d MiB are promised to it (%s)",
                *(
                    request.worker,
                    gpu.index,
                    gpu.uuid,
                    gpu.free >> 20,
                    requirement.need.promise >> 20,
                    requirement.need.source,
                ),
            )
        return gpus

    async def _make_room(self, request: PlacementRequest, requirement: _Requirement, waited: float) -> Room:
        async def choose(residents: list[Resident]) -> list[Resident] | None:
            async with self._choosing, self._leases.exclusive() as others:
                leases = [*others, *(allocation.lease for allocation in self._allocations)]
            return victims(
                await self.visible(), leases, requirement.claim, self._headroom, requirement.count, residents
            )

        return await self.on_demand.make_room(request.worker, choose, waited)

    def _write(self) -> None:
        self._leases.leases = [allocation.lease for allocation in self._allocations]
        self._leases.write()

    async def _look(self) -> dict[str, Gpu]:
        try:
            return {gpu.uuid: gpu for gpu in await self.visible()}
        except TimeoutError:
            log.error("NVML did not answer: the GPU driver of this host hangs")
            return {}

    async def _remember(self) -> None:
        for allocation in list(self._allocations):
            if allocation.lease.held > allocation.remembered:
                allocation.remembered = allocation.lease.held
                await asyncio.to_thread(self._footprints.remember, allocation.key, allocation.remembered)

    async def _watch(self) -> None:
        """Follow what the workers take, and call `lost` of those whose GPU is lost or sick."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                async with self._choosing, self._leases.exclusive():
                    gpus = await self._probe.gpus()
                    by_uuid = {gpu.uuid: gpu for gpu in gpus}
                    for allocation in self._allocations:
                        _measure(allocation, by_uuid)
                    self._write()
                await self._remember()
            except TimeoutError:
                log.error("NVML did not answer: the GPU driver of this host hangs")
                continue
            for allocation in list(self._allocations):
                self._check(allocation, by_uuid.get(allocation.gpu.uuid))

    def _check(self, allocation: _Allocation, gpu: Gpu | None) -> None:
        allocation.misses = 0 if gpu is not None else allocation.misses + 1
        reason = gpu.sick if gpu is not None else "it does not answer" if allocation.misses >= _MISSES else ""
        if reason and allocation.lost is not None:
            lost, allocation.lost = allocation.lost, None
            lost(f"GPU {allocation.gpu.index} ({allocation.gpu.uuid}) is lost: {reason}")


def _now() -> float:
    return asyncio.get_running_loop().time()


def _measure(allocation: _Allocation, gpus: dict[str, Gpu]) -> None:
    """Renew what the worker holds, as the driver tells it; one that holds more than was promised is promised that."""
    gpu = gpus.get(allocation.gpu.uuid)
    if gpu is None:
        return
    held = gpu.processes.get(allocation.pid)
    if held is None:
        if not allocation.lease.loading:
            return
        # In a container the driver's pids are the host's. One model loads at a time, so the difference is its own.
        held = max(0, allocation.before - gpu.free)
    allocation.lease = replace(allocation.lease, held=held, need=max(allocation.lease.need, held))
