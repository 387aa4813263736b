"""GpuSeats: which GPU each worker of this server sits on. Probes the GPUs anew for every worker that starts."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from ...scheduler.devices import Gpu, probe
from ...scheduler.placement import place
from ..config.model_options import ModelOptions

log = logging.getLogger(__name__)

PROBE_TIMEOUT = 10.0  # seconds; a sick driver hangs in NVML, and must not hang the server with it


class GpuSeats:
    """Counts the workers on each GPU and chooses the next one's by free memory."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._taken: Counter[str] = Counter()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nvml")

    async def visible(self) -> tuple[Gpu, ...]:
        """The GPUs as they are now, at most number_of_gpu of them. Raises TimeoutError if NVML does not answer."""
        if self._limit == 0:
            return ()
        found = asyncio.get_running_loop().run_in_executor(self._thread, probe)
        gpus = await asyncio.wait_for(found, PROBE_TIMEOUT)
        return tuple(gpu for gpu in gpus if self._limit is None or gpu.index < self._limit)

    async def take(self, worker: str, options: ModelOptions) -> Gpu | None:
        """Choose and count a GPU for `worker`; None means CPU: asked for, or no GPU is there.

        Raises ValueError for a deviceIds entry that does not exist, TimeoutError if NVML does not answer.
        """
        if options.device_type == "cpu":
            return None
        gpus = await self.visible()
        if not gpus:
            if options.device_type == "gpu":
                log.warning("%s: deviceType is gpu and no GPU is visible; it runs on the CPU", worker)
            return None
        gpu = place(gpus, self._taken, device_ids=options.device_ids, limit=self._limit)
        if gpu is not None:
            self._taken[gpu.uuid] += 1
            log.info("%s is placed on GPU %d (%s, %d MiB free)", worker, gpu.index, gpu.uuid, gpu.free >> 20)
        return gpu

    def leave(self, gpu: Gpu) -> None:
        self._taken[gpu.uuid] -= 1

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
