"""describe_model(): what `GET /models/{model}` shows of a version: TorchServe's keys, in its order, and more."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

import orjson

from .errors import NoWorker
from .models.model import Model
from .payload import Payload, Reply
from .wire.messages import Failure
from .workers.engine_load import EngineLoad
from .workers.worker_slot import SlotState, WorkerSlot

_MESSAGE = 2000  # characters of an exception's text, or of a note, that are shown
_LINES = 40  # the last lines of a traceback that are shown


def describe_model(model: Model) -> dict[str, Any]:
    """Return the entry of one version. Keys without a value are left out."""
    options, queued = model.options, model.scheduler.queued
    minimum, maximum = model.workers_wanted
    entry: dict[str, Any] = {
        "modelName": model.name,
        "modelVersion": model.version,
        **({"modelUrl": model.url} if model.url else {}),  # a workflow's function has none
        "runtime": model.runtime,
        "minWorkers": minimum,
        "maxWorkers": maximum,
        "batchSize": options.batch_size,
        "maxBatchDelay": options.max_batch_delay,
        "responseTimeout": options.response_timeout,
        "startupTimeout": options.startup_timeout,
        "maxRetryTimeoutInSec": options.max_retry_timeout,
        "clientTimeoutInMills": options.client_timeout,
        "parallelType": options.parallel.kind if options.parallel else "",
        "parallelLevel": options.parallel.level if options.parallel else 0,
        "deviceType": _device_type(model),
    }
    if options.device_ids is not None:
        entry["deviceIds"] = list(options.device_ids)
    if model.cache is not None:
        entry["cache"] = model.cache.described()
    state = options.stateful
    return entry | {
        "continuousBatching": options.continuous,
        "useJobTicket": options.job_ticket,
        "useVenv": options.use_venv,
        "stateful": state is not None,
        "sequenceMaxIdleMSec": state.idle if state else 0,
        "sequenceTimeoutMSec": state.life if state else 0,
        "maxNumSequence": state.most if state else 0,
        "maxSequenceJobQueueSize": state.queue_size if state else 0,
        "loadedAtStartup": model.at_startup,
        "workers": [_describe_worker(slot, model.pool.waits(slot)) for slot in model.pool.workers],
        **_describe_spare(model),
        **({"onDemand": model.on_demand.described()} if model.on_demand is not None else {}),
        "jobQueueStatus": {
            "remainingCapacity": max(0, options.job_queue_size - queued),
            "pendingRequests": queued,
        },
    }


def list_page(models: Sequence[Model], limit: int, offset: int) -> dict[str, Any]:
    """Return `limit` models from `offset` on; the page has nextPageToken if more follow.

    A workflow's functions have no url, and are left out, as in TorchServe.
    """
    models = [model for model in models if model.url]
    end = offset + limit
    page: dict[str, Any] = {"nextPageToken": str(end)} if end < len(models) else {}
    page["models"] = [{"modelName": model.name, "modelUrl": model.url} for model in models[offset:end]]
    return page


def _device_type(model: Model) -> str:
    if model.options.device_type:
        return model.options.device_type
    return "gpu" if any(slot.gpus for slot in model.pool.slots) else "cpu"


def _describe_spare(model: Model) -> dict[str, Any]:
    """Return the entry of the worker that stands by, which is not among the model's workers."""
    spares = [slot for slot in model.pool.slots if slot.spare]
    if not spares:
        return {}
    described = _describe_worker(spares[0], model.pool.waits(spares[0]))
    return {"warmSpare": described | {"status": "SPARE" if spares[0].state is SlotState.SPARE else "UNLOADING"}}


def _describe_worker(slot: WorkerSlot, waits: str) -> dict[str, Any]:
    worker = slot.worker
    started = time.gmtime(worker.started_at if worker else time.time())
    entry: dict[str, Any] = {
        "id": str(slot.number),
        "startTime": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", started),
        "status": "READY" if slot.state is SlotState.READY else "UNLOADING",
        "memoryUsage": worker.process.memory if worker else 0,
        "pid": worker.process.pids[0] if worker else -1,
        "gpu": bool(slot.gpus or (worker and worker.process.gpus)),
        "gpuUsage": " ".join(f"gpuId::{gpu.index}" for gpu in slot.gpus) or "N/A",
    }
    if worker and worker.engine is not None:
        entry["engine"] = _describe_engine(worker.engine)
    if worker and worker.notes:
        entry["notes"] = {subject: note[:_MESSAGE] for subject, note in worker.notes.items()}
    if worker and worker.process.where:
        entry["node"] = worker.process.where.removeprefix(" on node ")
    if waits:
        entry["waiting"] = waits
    if slot.last_error:
        entry["lastError"] = slot.last_error
    if slot.last_failure is not None:
        entry["lastFailure"] = describe_failure(*slot.last_failure)
    return entry


def _describe_engine(engine: EngineLoad) -> dict[str, Any]:
    """Return the entry of a worker's engine: its bounds and its load, as it was reported last, in tokens."""
    return {
        "contextLength": engine.bounds.context,
        "memoryTokens": engine.bounds.memory,
        "kvCacheUsage": round(engine.memory, 4),
        "runningSequences": engine.running,
        "waitingSequences": engine.waiting,
        "promptTokens": engine.prompt_tokens,
        "generationTokens": engine.generation_tokens,
    }


def describe_failure(when: float, failure: Failure) -> dict[str, Any]:
    """Return the entry of the last exception that the handler raised, at load or in a request."""
    entry: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(when)),
        "kind": failure.kind,
        "message": failure.message[:_MESSAGE],
    }
    if failure.file:
        entry |= {"file": failure.file, "line": failure.line}
    return entry | {"traceback": failure.traceback.splitlines()[-_LINES:]}


class _Metadata:
    """The sink of a describe job: its answer, as a future."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def chunk(self, item: object) -> None:
        """Ignore a chunk of a handler that streams."""

    def done(self, item: object) -> None:
        assert isinstance(item, Reply)
        if not self.answer.done():
            self.answer.set_result(item)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


async def describe_customized(model: Model) -> dict[str, Any]:
    """Return the handler's own description, {} if it gives none.

    The handler is asked by a batch of one empty row with the header `describe`. Raises NoWorker, and what the job fails
    with.
    """
    sink = _Metadata()
    row = Payload(str(uuid.uuid4()), (), {"describe": "True"})
    try:
        model.submit(row, sink, named_version=False, exclusive=True)
    except NoWorker:
        raise NoWorker(
            f'Model "{model.name}" has no worker to serve describe request.'
            " Please use scale workers API to add workers."
        ) from None
    reply = await sink.answer
    try:
        found = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
