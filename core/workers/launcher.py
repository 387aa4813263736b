"""Launcher: starts a worker of one model version: where, with which environment, and with what order to load."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ...scheduler.errors import NoRoom
from ...scheduler.gpu import Gpu
from ...scheduler.lane import Lane
from ..config.model_options import ModelOptions
from ..config.settings import Settings
from ..wire.messages import Load
from .gpus import GpuSeats, Tenant
from .observer import WorkerObserver
from .spawn_local import spawn, worker_environment
from .threads import available_cores, threads_per_worker
from .worker import LoadFailed, Worker

_ADVICE = (
    ". Free memory there, or say in the model's model-config.yaml what it needs (gpuMemory) or what to do instead"
    " (whenNoGpuMemory: wait or cpu)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """What all workers of a model version have in common."""

    load: Load
    options: ModelOptions
    settings: Settings
    seats: GpuSeats
    lane: Lane
    observer: WorkerObserver

    async def launch(self, name: str, workers: int) -> tuple[Worker, Gpu | None]:
        """A worker that has loaded the model and serves its lane, and its GPU. Raises LoadFailed.

        `workers` is how many share the machine's cores, this one included.
        """
        gpu = await self._seat(name)
        try:
            worker = await self._start(name, gpu, workers)
            if gpu is not None:
                await self.seats.settled(name, worker.process.pid, worker.evacuate)
            return worker, gpu
        except BaseException:
            self.seats.leave(name)
            raise

    async def _seat(self, name: str) -> Gpu | None:
        try:
            return await self.seats.take(Tenant(name, self.load.model_name, Path(self.load.model_dir), self.options))
        except NoRoom as error:
            raise LoadFailed(
                f"model {self.load.model_name} can't be placed: {error}{_ADVICE}", out_of_memory=True
            ) from error
        except ValueError as error:
            raise LoadFailed(f"model {self.load.model_name} can't be placed: {error}") from error
        except TimeoutError:
            raise LoadFailed("NVML did not answer: the GPU driver of this host hangs") from None

    async def _start(self, name: str, gpu: Gpu | None, workers: int) -> Worker:
        environment = worker_environment(
            os.environ,
            hidden=self.settings.blacklist_env_vars,
            gpu_uuid=gpu.uuid if gpu else None,
            threads=threads_per_worker(workers, available_cores()),
        )
        worker: Worker | None = None

        def printed(stream: str, line: str) -> None:
            self.observer.printed(name, stream, line, worker.requests if worker is not None else "")

        try:
            process = await spawn(name, environment, printed, self.settings.python)
        except OSError as error:
            raise LoadFailed(f"{name} could not be started: {error}") from error
        # With one GPU made visible, that GPU is number 0 for the handler.
        load = self.load if gpu is None else msgspec.structs.replace(self.load, gpu_id=0)
        worker = Worker(
            name, self.load.model_name, process, self.lane, self.observer, load, self.options.response_timeout
        )
        await worker.load(self.options.startup_timeout)
        return worker
