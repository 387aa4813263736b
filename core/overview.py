"""Overview: the state of the whole server as one document, and what has changed in it, for the dashboard.

A row has a version's totals since it was registered (requests, refusals, the buckets of histograms), and under `recent`
the rates and quantiles of the last seconds, as `rates` makes them of two rows. Nothing is kept here for a look
that nobody takes, and each look costs the same however many look. A version's row is made anew only if something of it
has moved, or moved in that time: a thousand idle models cost a comparison each.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from .describe import describe_failure, describe_model
from .gpus.gpu_allocator import GpuAllocator
from .logs.tail import LogTail
from .metrics.catalog import DURATIONS, FIRST_TOKEN, NEXT_TOKEN
from .metrics.series import Histogram
from .metrics.store import MetricStore
from .models.model import Model
from .models.registry import Registry
from .rates import recent, recent_of_workflow
from .recent_rows import RecentRows
from .version import __version__
from .workers.worker_slot import WorkerSlot

_TURN = 40  # models that are looked at before others on the event loop have their turn: 2 ms if all have moved
_FAILURES = 20  # the latest failures of workers that are shown
_ERROR = 300  # characters of a worker's last error in a model's row
_COUNTERS = {
    "torchserve_requests_refused_total": "refused",
    "torchserve_requests_failed_total": "failed",
    "torchserve_requests_cancelled_total": "cancelled",
    "torchserve_batches_total": "causes",
    "torchserve_worker_restarts_total": "restarts",
}
_HISTOGRAMS = {
    "torchserve_request_duration_seconds": "latency",
    "torchserve_queue_duration_seconds": "waited",
    "vllm:time_to_first_token_seconds": "firstToken",
    "vllm:inter_token_latency_seconds": "nextToken",
}
_BOUNDS = {"latency": DURATIONS, "waited": DURATIONS, "firstToken": FIRST_TOKEN, "nextToken": NEXT_TOKEN}


class Health(Protocol):
    """The part of the control plane that an overview asks."""

    def healthy(self) -> bool: ...
    def missing(self) -> list[str]: ...
    def downloads(self) -> dict[str, Any]: ...


class Overview:
    """The state of a server. `log`, `settings` and `workflows` are shown if whoever started the server has set them."""

    def __init__(
        self,
        registry: Registry,
        metrics: MetricStore,
        gpu_allocator: GpuAllocator,
        health: Health,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._gpu_allocator = gpu_allocator
        self._health = health
        self._clock = clock
        self._started = clock()
        self._rows: dict[Model, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self._gpus: list[dict[str, Any]] = []
        self._recent = RecentRows(clock)
        self._told: dict[str, Any] = {}  # what the last look has found of what is no row
        self._graphs: dict[str, dict[str, Any]] = {}  # the rows of workflows, by name
        self.spent = 0.0
        self.log: LogTail | None = None
        self.settings: Callable[[], list[dict[str, str]]] = list
        self.workflows: Callable[[], list[dict[str, Any]]] = list

    def whole(self) -> dict[str, Any]:
        """Return the document as of the last look."""
        rows = [row for _, row in self._rows.values()]
        return {
            "whole": True, "models": rows, "gone": [], "workflows": list(self._graphs.values()),
            **self._now(), **self._told,
        }  # fmt: skip

    async def changes(self) -> dict[str, Any]:
        """Look, and return what has changed since the last look; figures of the server itself always do.

        The event loop has its turn between _TURN models. `spent` is then the processor time (s) that this look took.
        """
        began, self.spent = time.thread_time(), 0.0
        before, rows = self._rows, {}
        changed: list[dict[str, Any]] = []
        failures: list[tuple[float, Callable[[], dict[str, Any]]]] = []
        defaults = set(self._registry.defaults())
        for number, model in enumerate(self._registry):
            if number % _TURN == _TURN - 1:
                self.spent += time.thread_time() - began
                await asyncio.sleep(0)
                began = time.thread_time()
            workers = [_worker(slot, model.pool.waits(slot)) for slot in model.pool.slots]
            moved = (model in defaults, workers, *self._moved(model))
            known = before.get(model)
            same = known is not None and known[0] == moved
            if known is not None and same and self._recent.still(model):
                rows[model] = known
            else:
                row = known[1] if known is not None and same else _row(model, workers, default=model in defaults)
                past, seconds = self._recent.before(model, row, moved=not same)
                row = row | {"recent": recent(row, past, seconds, _BOUNDS)}
                rows[model] = moved, row
                changed.append(row)
            failures += _failures(model)
        gone = [[model.name, model.version] for model in before if model not in rows]
        self._rows = rows
        found = {
            "gpus": self._gpu_rows(),
            "traffic": [{"model": name} | each.described() for name, each in self._registry.traffic.items()],
            "failures": _latest(failures),
            "downloads": self._health.downloads()["downloads"],
        }
        told, self._told = self._told, found
        news = {name: value for name, value in found.items() if told.get(name) != value}
        news |= self._look_at_workflows()
        self.spent += time.thread_time() - began
        return {"models": changed, "gone": gone, **self._now(), **news}

    def _look_at_workflows(self) -> dict[str, Any]:
        """Return the rows of workflows that have moved and the names of those that are gone, if there are any."""
        before, self._graphs = self._graphs, {}
        moved: list[dict[str, Any]] = []
        for row in self.workflows():
            name = row["name"]
            known = before.get(name)
            same = known is not None and {**known, "recent": None} == {**row, "recent": None}
            if known is None or not same or not self._recent.still(name):
                past, seconds = self._recent.before(name, row, moved=not same)
                known = row | {"recent": recent_of_workflow(row, past, seconds, _BOUNDS)}
                moved.append(known)
            self._graphs[name] = known
        gone = [name for name in before if name not in self._graphs]
        self._recent.keep({*self._rows, *self._graphs})
        return ({"workflows": moved} if moved else {}) | ({"workflowsGone": gone} if gone else {})

    def forget(self) -> None:
        """Keep nothing: nobody looks any more."""
        self._rows, self._gpus, self._told, self._graphs = {}, [], {}, {}
        self._recent.keep(())

    async def look_at_gpus(self) -> None:
        """Ask the driver for the GPUs, which the next look shows. One that doesn't answer leaves them as they were."""
        try:
            gpus = await self._gpu_allocator.visible()
        except TimeoutError:
            return
        self._gpus = [
            {
                "gpu": gpu.index, "name": gpu.name, "uuid": gpu.uuid, "total": gpu.total, "used": gpu.total - gpu.free,
                "busy": gpu.utilization, "sick": gpu.sick,
            }
            for gpu in gpus
        ]  # fmt: skip

    def detail(self, name: str, version: str | None) -> dict[str, Any]:
        """Return all that is known of one version. Raises ModelNotFound, VersionNotFound."""
        model = self._registry.get(name, version)
        signature = model.signature
        return {
            "described": describe_model(model),
            "lacking": model.lacking,
            "rule": model.scheduler.policy.rule,
            "costs": {
                device: {
                    "best": latency.best_size,
                    "sizes": [
                        {"size": each.size, "runs": each.runs, "median": each.median, "p90": latency.p90(each.size)}
                        for each in latency.measured()
                    ],
                }
                for device, latency in model.scheduler.latencies.items()
                if latency.known
            },
            "inputs": None
            if signature is None
            else [
                {
                    "name": each.name,
                    "datatype": each.datatype,
                    "shape": None if each.shape is None else list(each.shape),
                }
                for each in signature.inputs
            ],
        }

    def _now(self) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "at": self._clock(),
            "server": {
                "version": __version__,
                "pid": os.getpid(),
                "started": self._started,
                "healthy": self._health.healthy(),
                "missing": self._health.missing(),
                "answered": self._metrics.answered(),
                "processorSeconds": round(used.ru_utime + used.ru_stime, 3),
            },
        }

    def _moved(self, model: Model) -> tuple[Any, ...]:
        """Return what is different after anything has happened to a version."""
        tally, engines = model.metrics.tally, model.engines if model.options.generates else []
        return (
            model.metrics.requests, tally.succeeded, tally.failed, tally.batches,
            model.scheduler.queued, model.scheduler.running, model.workers_wanted,
            *((each.running, each.waiting, each.memory, each.generation_tokens) for each in engines),
        )  # fmt: skip

    def _gpu_rows(self) -> list[dict[str, Any]]:
        promised: dict[str, list[dict[str, Any]]] = {}
        for lease in self._gpu_allocator.leases:
            promised.setdefault(lease.uuid, []).append(
                {"worker": lease.worker, "model": lease.model, "promised": lease.need, "held": lease.held}
            )
        return [gpu | {"workers": promised.get(gpu["uuid"], [])} for gpu in self._gpus]


def _row(model: Model, workers: list[tuple[Any, ...]], *, default: bool) -> dict[str, Any]:
    """Return the row of a version: its state, and its totals since it was registered."""
    minimum, maximum = model.workers_wanted
    tally = model.metrics.tally
    row: dict[str, Any] = {
        "name": model.name,
        "version": model.version,
        "default": default,
        "min": minimum,
        "max": maximum,
        "workers": workers,
        "onDemand": model.on_demand is not None,
        "queued": model.scheduler.queued,
        "queueSize": model.options.job_queue_size,
        "running": model.scheduler.running,
        "batchSize": model.options.batch_size,
        "requests": model.metrics.requests,
        "succeeded": tally.succeeded,
        "refused": {},
        "failed": {},
        "sizes": {str(size): alike.batches for size, alike in sorted(tally.sizes.items())},
    }
    for name, labels, series in model.metrics.shown():
        if name in _COUNTERS:
            counts = row.setdefault(_COUNTERS[name], {})
            counts[labels[0]] = counts.get(labels[0], 0) + int(getattr(series, "value", 0))
        elif name in _HISTOGRAMS and isinstance(series, Histogram):
            row[_HISTOGRAMS[name]] = list(series.counts)
    if model.options.generates:
        engines = model.engines
        row["text"] = {
            "running": sum(each.running for each in engines),
            "waiting": sum(each.waiting for each in engines),
            "memory": max((each.memory for each in engines), default=0.0),
            "promptTokens": sum(each.prompt_tokens for each in engines),
            "tokens": sum(each.generation_tokens for each in engines),
        }
    return row


def _worker(slot: WorkerSlot, waits: str) -> tuple[Any, ...]:
    """Return a worker's number, state, pid (0 without a process), GPUs, why it waits or its last error, and the node
    that it runs on, "" for this host.
    """
    worker = slot.worker
    pids = worker.process.pids if worker is not None else ()
    return (
        slot.number,
        slot.state.value,
        pids[0] if pids else 0,
        [gpu.index for gpu in slot.gpus],
        (waits or slot.last_error)[:_ERROR],
        worker.process.where.removeprefix(" on node ") if worker is not None else "",
    )


def _failures(model: Model) -> Iterator[tuple[float, Callable[[], dict[str, Any]]]]:
    for slot in model.pool.slots:
        last = slot.last_failure
        if last is not None:
            yield (
                last[0],
                lambda slot=slot, last=last: (
                    {"model": model.name, "version": model.version, "worker": slot.number} | describe_failure(*last)
                ),
            )


def _latest(failures: list[tuple[float, Callable[[], dict[str, Any]]]]) -> list[dict[str, Any]]:
    failures.sort(key=lambda each: -each[0])
    return [make() for _, make in failures[:_FAILURES]]
