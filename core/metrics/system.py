"""SystemSampler: measures the host and its GPUs at intervals, off the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator

import psutil

from ...scheduler.gpu import Gpu
from ..container_limits import MemoryLimit, memory_limit
from .store import GPU_METRICS, OWN_GPU_METRICS, MetricStore

log = logging.getLogger(__name__)

_MB, _GB = 1 << 20, 1 << 30
DISK = "/"
OWN_USED, OWN_TOTAL, OWN_BUSY = OWN_GPU_METRICS


class SystemSampler:
    """A periodic measurement of the machine. `gpus` returns the GPUs as they are now; `host` measures the rest, in a
    thread.
    """

    def __init__(
        self,
        metrics: MetricStore,
        gpus: Callable[[], Awaitable[Iterable[Gpu]]],
        host: Callable[[], list[tuple[str, float]]] | None = None,
    ) -> None:
        self._metrics = metrics
        self._gpus = gpus
        self._host = host or measure_host
        self._failing = ""

    async def run(self, interval: float) -> None:
        """Measure now and then every `interval` seconds, whatever fails meanwhile."""
        while True:
            await self.sample()
            await asyncio.sleep(interval)

    async def sample(self) -> None:
        """Measure once. What can't be measured is left out, and logged when the failure begins."""
        host: list[tuple[str, float]] = []
        gpus: Iterable[Gpu] = ()
        failing = ""
        try:
            host = await asyncio.to_thread(self._host)
            gpus = await self._gpus()
        except Exception as error:  # noqa: BLE001  (one bad reading must not be the last one)
            failing = f"{type(error).__name__}: {error}"
        if failing and failing != self._failing:
            log.warning("System metrics are incomplete: %s", failing)
        self._failing = failing
        self._metrics.system(host, of_gpus(gpus))


def measure_host() -> list[tuple[str, float]]:
    """Return CPU, memory and disk figures under TorchServe's names; the CPU's is since the last call."""
    disk = psutil.disk_usage(DISK)
    return [
        ("CPUUtilization", psutil.cpu_percent()),
        ("DiskAvailable", disk.free / _GB),
        ("DiskUsage", disk.used / _GB),
        ("DiskUtilization", disk.percent),
        *measure_memory(memory_limit()),
    ]


def measure_memory(limit: MemoryLimit | None) -> list[tuple[str, float]]:
    """Return the memory figures: of the container if it has a limit, else of the host."""
    host = psutil.virtual_memory()
    available, used, percent = host.available, host.used, host.percent
    if limit is not None and 0 < limit.limit < host.total:
        used = limit.used
        available = max(min(available, limit.limit - used), 0)
        percent = round(100.0 * used / limit.limit, 1)
    return [("MemoryAvailable", available / _MB), ("MemoryUsed", used / _MB), ("MemoryUtilization", percent)]


def of_gpus(gpus: Iterable[Gpu]) -> Iterator[tuple[str, str, float]]:
    """Yield device, name and value of each figure that the driver tells."""
    share, used, busy = GPU_METRICS
    for gpu in gpus:
        device = str(gpu.index)
        if gpu.total:
            yield device, share, 100.0 * (gpu.total - gpu.free) / gpu.total
            yield device, used, (gpu.total - gpu.free) / _MB
            yield device, OWN_USED, gpu.total - gpu.free
            yield device, OWN_TOTAL, gpu.total
        if gpu.utilization is not None:
            yield device, busy, gpu.utilization
            yield device, OWN_BUSY, gpu.utilization / 100.0
