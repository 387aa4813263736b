"""Launcher: starts a worker of one model version: places it, spawns its process and has it load the model."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ...scheduler.errors import NoRoom
from ...scheduler.gpu import Gpu
from ...scheduler.model_scheduler import ModelScheduler
from ..archive.packages import ModelPython
from ..config.model_options import ModelOptions
from ..config.settings import Settings
from ..container_limits import available_cores
from ..gpus.footprints import weights_size
from ..gpus.gpu_allocator import GpuAllocator, PlacementRequest
from ..wire.messages import Load
from ..wire.remote_messages import Ranks
from .call_plane import CallPlane
from .fork_server import ForkServer
from .forked_worker import NotForked
from .load_failed import LoadFailed
from .observer import WorkerObserver
from .preloads import preloads
from .remote.placer import Demand
from .remote.remote_process import OnLine, RemoteProcess
from .remote.remote_start import RemoteStart
from .remote.remote_workers import RemoteWorkers
from .shared_memory import Requests
from .spawn_local import LocalProcess, spawn
from .threads import threads_per_worker
from .worker import Worker
from .worker_environment import worker_environment
from .worker_process import WorkerProcess
from .worker_spec import WorkerSpec

log = logging.getLogger(__name__)

_ADVICE = (
    ". Free memory there, or say in the model's model-config.yaml what it needs (gpuMemory) or what to do instead"
    " (whenNoGpuMemory: wait or cpu)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """A starter of one model version's workers, with what all of them have in common."""

    load: Load
    options: ModelOptions
    settings: Settings
    python: ModelPython
    gpu_allocator: GpuAllocator
    scheduler: ModelScheduler
    observer: WorkerObserver
    requests: Requests | None = None
    remote: RemoteWorkers | None = None
    fork_server: ForkServer | None = None
    calls: CallPlane | None = None

    async def launch(self, name: str, workers: int) -> tuple[Worker, tuple[Gpu, ...]]:
        """Start a worker. Return it, once it has loaded the model, and its GPUs; the caller opens it.

        `workers` is how many share the machine's cores, this one included. Raises LoadFailed, Postponed. Unless this
        returns, and also if it is cancelled at any point, the process has been ended and the GPUs given up.
        """
        try:
            gpus = () if self.remote is not None else await self._allocate(name)
            worker = await self._start(name, gpus, workers)
            try:
                await worker.load(self.options.startup_timeout, self.options.warm_up_timeout)
                if self.remote is None:
                    await self.gpu_allocator.settled(name, worker.process.pids, worker.evacuate)
            except BaseException as error:
                await worker.discard(at_once=not isinstance(error, LoadFailed))
                raise
        except BaseException:
            self.gpu_allocator.release(name)
            raise
        return worker, gpus

    def told(self, error: LoadFailed) -> str:
        """Return what a client reads of a failed load: one line, and the traceback if the settings say so."""
        if error.failure is None or not self.settings.handler_errors_in_response:
            return str(error)
        return f"{error}\n{error.failure.traceback}"

    async def _allocate(self, name: str) -> tuple[Gpu, ...]:
        try:
            return await self.gpu_allocator.allocate(
                PlacementRequest(name, self.load.model_name, Path(self.load.model_dir), self.options)
            )
        except NoRoom as error:
            raise LoadFailed(
                f"model {self.load.model_name} can't be placed: {error}{_ADVICE}", out_of_memory=True
            ) from error
        except ValueError as error:
            raise LoadFailed(f"model {self.load.model_name} can't be placed: {error}") from error
        except TimeoutError:
            raise LoadFailed("NVML did not answer: the GPU driver of this host hangs") from None

    async def _start(self, name: str, gpus: tuple[Gpu, ...], workers: int) -> Worker:
        parallel = self.options.parallel
        ranks = max(1, parallel.ranks) if parallel else 1
        environment = worker_environment(
            os.environ,
            hidden=self.settings.blacklist_env_vars,
            gpus=[gpu.uuid for gpu in gpus],
            threads=threads_per_worker(workers * ranks, available_cores()),
        )
        if (said := _threads(self.options)) is not None:
            environment["OMP_NUM_THREADS"] = str(said)
            environment.pop("TS_WORKER_CORES", None)
        worker: Worker | None = None

        def printed(stream: str, line: str) -> None:
            self.observer.printed(name, stream, line, *(worker.requests if worker is not None else ("", "")))

        if self.remote is not None:
            elsewhere = self._elsewhere(name, self.remote, printed)
            worker = self._worker(name, self.load, elsewhere, "remote")
            elsewhere.evacuate, elsewhere.rank_failed = worker.evacuate, worker.loading.end
            return worker
        try:
            process = await self._process(name, environment, printed)
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
            raise LoadFailed(f"{name} could not be started: {error}") from error
        # Only its own GPUs are visible to the worker, so that the first of them has number 0 there.
        load = msgspec.structs.replace(self.load, gpu_id=0) if gpus else self.load
        device = gpus[0].name if gpus else "cpu"
        worker = self._worker(name, load, process, device)
        return worker

    async def _process(self, name: str, environment: Mapping[str, str], printed: OnLine) -> LocalProcess:
        """Have the worker forked if it gains from that, or start it on its own. Raises OSError, ValueError."""
        parallel, python = self.options.parallel, self.python
        plain = not (python.interpreter or python.path or (parallel is not None and parallel.ranks))
        if self.fork_server is not None and plain:
            needs = await asyncio.to_thread(preloads, self.load.model_dir, self.load.handler)
            if needs is not None:
                try:
                    return await self.fork_server.fork(name, environment, printed, needs, self.requests)
                except NotForked as error:
                    log.info("%s is started on its own, since %s", name, error)
        interpreter = python.interpreter or self.settings.python
        return spawn(name, python.extend(environment), printed, interpreter, parallel, self.requests)

    def waits(self, name: str) -> str:
        """Return why a worker that is being started has no place yet, "" if it has one."""
        return "" if self.remote is None else self.remote.waiting.get(name, "")

    def _worker(self, name: str, load: Load, process: WorkerProcess, device: str) -> Worker:
        options = self.options
        timeout = options.response_timeout
        spec = WorkerSpec(name, load, timeout, device, options.generates, options.idempotent, self.calls)
        return Worker(spec, process, self.scheduler, self.observer)

    def _elsewhere(self, name: str, remote: RemoteWorkers, printed: OnLine) -> RemoteProcess:
        """Return the process of a worker on another host. Raises LoadFailed for what is not served there."""
        options, python = self.options, self.python
        if python.interpreter or python.path:
            raise LoadFailed(
                f"model {self.load.model_name} has packages of its own, which don't go to other hosts: install them on"
                " the nodes, and set install_py_dep_per_model=false (useVenv: false)"
            )
        folder = Path(self.load.model_dir)
        parallel, threads = options.parallel, _threads(options)
        ranks: Ranks | None = None
        if parallel is not None and parallel.ranks:
            ranks = Ranks(parallel.ranks, parallel.kind, parallel.torchrun_options())
            threads = threads or 1  # else each rank would take the cores of all
        cores = float((threads or 1) * (ranks.count if ranks else 1))
        start = RemoteStart(
            worker=name,
            model_dir=folder,
            demand=Demand(_gpus(options), cores, weights_size(folder)),
            hidden=self.settings.blacklist_env_vars,
            variables={"OMP_NUM_THREADS": str(threads)} if threads is not None else {},
            python=self.settings.python,
            ranks=ranks,
        )
        return remote.spawn(start, printed)


def _threads(options: ModelOptions) -> int | None:
    """Return the threads that the model's yaml gives each process, None if it doesn't say."""
    parallel = options.parallel
    return parallel.threads if parallel is not None and parallel.threads is not None else options.threads


def _gpus(options: ModelOptions) -> float | None:
    """Return how many GPUs a worker needs; None for one, if there are any."""
    if options.device_type == "cpu":
        return 0.0
    if options.parallel is not None:
        return float(options.parallel.level)
    return 1.0 if options.device_type == "gpu" else None
