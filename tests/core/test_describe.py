"""What a model version shows of itself: TorchServe's keys, its workers, and the handler's own words."""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

import pytest

from torchserve.core.describe import describe_customized, describe_model
from torchserve.core.errors import HandlerFailed, NoWorker
from torchserve.core.payload import Payload, Reply
from torchserve.core.wire.messages import Capacity
from torchserve.core.workers.engine_load import EngineLoad
from torchserve.core.workers.observer import WorkerObserver
from torchserve.core.workers.pool import SlotState
from torchserve.scheduler.devices import Gpu

from .doubles import Answering, Sink, model, slot

GPU = Gpu(3, "GPU-x", "H200", 100, 50)


async def test_a_model_without_workers() -> None:
    shown = describe_model(model(batch_size=4, max_batch_delay=7, response_timeout=8, startup_timeout=9))
    assert list(shown.items()) == [
        ("modelName", "m"), ("modelVersion", "1.0"), ("modelUrl", "m.mar"), ("runtime", "python"),
        ("minWorkers", 0), ("maxWorkers", 0), ("batchSize", 4), ("maxBatchDelay", 7),
        ("responseTimeout", 8), ("startupTimeout", 9), ("maxRetryTimeoutInSec", 300), ("clientTimeoutInMills", 0),
        ("parallelType", ""), ("parallelLevel", 0), ("deviceType", "cpu"),
        ("continuousBatching", False), ("useJobTicket", False), ("useVenv", False), ("stateful", False),
        ("sequenceMaxIdleMSec", 0), ("sequenceTimeoutMSec", 0), ("maxNumSequence", 0), ("maxSequenceJobQueueSize", 0),
        ("loadedAtStartup", False), ("workers", []),
        ("jobQueueStatus", {"remainingCapacity": 100, "pendingRequests": 0}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "scaled", "shown"),
    [((2, 4), None, (2, 4)), ((2, 4), (1, 3), (1, 3)), ((0, 0), (5, 5), (5, 5)), ((2, 4), (0, 0), (0, 0))],
)
async def test_how_many_workers(asked: tuple[int, int], scaled: tuple[int, int] | None, shown: tuple[int, int]) -> None:
    subject = model(min_workers=asked[0], max_workers=asked[1])
    if scaled is not None:
        subject.pool.minimum, subject.pool.maximum = scaled
        subject.pool.scaled = True
    found = describe_model(subject)
    assert (found["minWorkers"], found["maxWorkers"]) == shown


@pytest.mark.parametrize(
    ("device_type", "gpu", "shown"), [("", None, "cpu"), ("", GPU, "gpu"), ("gpu", None, "gpu"), ("cpu", None, "cpu")]
)
async def test_the_device(device_type: str, gpu: Gpu | None, shown: str) -> None:
    subject = model(device_type=device_type, device_ids=(1, 0))
    subject.pool.slots.append(slot(gpu=gpu))
    found = describe_model(subject)
    assert (found["deviceType"], found["deviceIds"]) == (shown, [1, 0])
    keys = list(found)
    assert keys.index("deviceIds") == keys.index("deviceType") + 1


async def test_the_queue() -> None:
    subject = model(job_queue_size=3)
    subject.pool.slots.append(slot())
    for left in (2, 1, 0):
        subject.submit(Payload("id", ()), Sink(), named_version=False)
        assert describe_model(subject)["jobQueueStatus"] == {"remainingCapacity": left, "pendingRequests": 3 - left}


@pytest.mark.parametrize(
    ("state", "shown"),
    [(SlotState.READY, "READY"), *((state, "UNLOADING") for state in SlotState if state is not SlotState.READY)],
)
async def test_the_states_of_workers(state: SlotState, shown: str) -> None:
    subject = model()
    subject.pool.slots.append(slot(state=state))
    (worker,) = describe_model(subject)["workers"]
    assert worker["status"] == shown


async def test_a_worker_and_a_place_without_one() -> None:
    subject = model()
    subject.pool.slots += [
        slot(9000, started_at=86400.0, gpu=GPU),
        slot(9001, SlotState.WAITING, last_error="weights are missing"),
    ]
    serving, waiting = describe_model(subject)["workers"]
    assert list(serving) == ["id", "startTime", "status", "memoryUsage", "pid", "gpu", "gpuUsage"]
    assert serving["memoryUsage"] > 1_000_000
    del serving["memoryUsage"]
    assert serving == {
        "id": "9000", "startTime": "1970-01-02T00:00:00.000Z", "status": "READY", "pid": os.getpid(), "gpu": True,
        "gpuUsage": "gpuId::3",
    }  # fmt: skip
    assert waiting.pop("startTime").endswith("Z")
    assert waiting == {
        "id": "9001", "status": "UNLOADING", "memoryUsage": 0, "pid": -1, "gpu": False, "gpuUsage": "N/A",
        "lastError": "weights are missing",
    }  # fmt: skip


async def test_the_warm_spare_is_counted_apart() -> None:
    subject = model()
    subject.pool.slots += [slot(9000, started_at=86400.0), slot(9001, SlotState.SPARE, started_at=86400.0)]
    assert "warmSpare" not in describe_model(subject)
    subject.pool.slots[1].spare = True
    shown = describe_model(subject)
    assert [worker["id"] for worker in shown["workers"]] == ["9000"]
    assert (shown["warmSpare"]["id"], shown["warmSpare"]["status"]) == ("9001", "SPARE")
    assert shown["warmSpare"]["memoryUsage"] > 1_000_000
    subject.pool.slots[1].state = SlotState.LOADING
    assert describe_model(subject)["warmSpare"]["status"] == "UNLOADING"


async def test_what_the_handler_says_was_chosen() -> None:
    subject = model()
    subject.pool.slots.append(slot(started_at=0.0, notes={"preprocessing": "as written", "long": "x" * 5000}))
    (worker,) = describe_model(subject)["workers"]
    assert worker["notes"] == {"preprocessing": "as written", "long": "x" * 2000}


async def test_the_engine_of_a_language_model() -> None:
    subject = model()
    subject.pool.slots.append(found := slot(started_at=0.0))
    engine = EngineLoad(Capacity(128, 4096, 32), subject.scheduler, cast("WorkerObserver", None))
    engine.running, engine.waiting, engine.memory, engine.generation_tokens = 3, 1, 0.123456, 7
    assert found.worker is not None
    found.worker.engine = engine
    (worker,) = describe_model(subject)["workers"]
    assert worker["engine"] == {
        "contextLength": 128, "memoryTokens": 4096, "kvCacheUsage": 0.1235, "runningSequences": 3,
        "waitingSequences": 1, "promptTokens": 0, "generationTokens": 7,
    }  # fmt: skip


async def test_the_memory_of_a_process_that_has_gone() -> None:
    subject = model()
    subject.pool.slots.append(slot(started_at=0.0, pid=2**22 + 1))  # beyond any pid
    (worker,) = describe_model(subject)["workers"]
    assert worker["memoryUsage"] == 0


# ---- the handler's own description


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"a": [1]}', {"a": [1]}),
        (memoryview(b'{"a": 1}'), {"a": 1}),
        (b"[1]", {}),
        (b'"text"', {}),
        (b"", {}),
        (b"no json", {}),
        (b"\xff", {}),
    ],
)
async def test_an_object_is_shown_and_nothing_else(body: Any, found: dict[str, Any]) -> None:
    subject = model(batch_size=4)
    subject.pool.slots.append(slot())
    worker = Answering(subject.scheduler, lambda payload: Reply(body))
    assert await describe_customized(subject) == found
    ((payload,),) = worker.batches
    assert payload.parts == ()
    assert payload.headers == {"describe": "True"}


async def test_a_description_is_asked_for_alone() -> None:
    subject = model(batch_size=4)
    subject.pool.slots.append(slot())
    sinks = [Sink(), Sink()]
    subject.submit(Payload("first", ()), sinks[0], named_version=False)
    asking = asyncio.create_task(describe_customized(subject))
    await asyncio.sleep(0)
    subject.submit(Payload("last", ()), sinks[1], named_version=False)
    worker = Answering(subject.scheduler, lambda payload: Reply(b"{}"))
    assert await asking == {}
    await sinks[1].told.wait()
    assert [len(batch) for batch in worker.batches] == [1, 1, 1]


async def test_a_handler_that_streams_its_description() -> None:
    subject = model()
    subject.pool.slots.append(slot())

    class Streaming(Answering):
        def run(self, batch: Any) -> None:
            self.scheduler.chunk(batch, [Reply(b'{"part": 1}')])
            super().run(batch)

    Streaming(subject.scheduler, lambda payload: Reply(b'{"whole": 1}'))
    assert await describe_customized(subject) == {"whole": 1}


async def test_a_handler_that_fails() -> None:
    subject = model()
    subject.pool.slots.append(slot())
    Answering(subject.scheduler, lambda payload: HandlerFailed("Prediction failed", 503))
    with pytest.raises(HandlerFailed, match="Prediction failed"):
        await describe_customized(subject)


async def test_without_a_worker_in_torchserves_words() -> None:
    with pytest.raises(NoWorker) as caught:
        await describe_customized(model())
    assert caught.value.message == (
        'Model "m" has no worker to serve describe request. Please use scale workers API to add workers.'
    )


@pytest.mark.parametrize("how", ["done", "fail"])
async def test_an_answer_after_the_client_has_gone_finds_nobody(how: str, caplog: pytest.LogCaptureFixture) -> None:
    subject = model()
    subject.pool.slots.append(slot())
    asking = asyncio.create_task(describe_customized(subject))
    await asyncio.sleep(0)
    asking.cancel()
    worker = Answering(subject.scheduler, lambda payload: Reply(b"{}") if how == "done" else HandlerFailed("x", 503))
    await subject.scheduler.idle()
    assert (len(worker.batches), caplog.messages) == (1, [])
    with pytest.raises(asyncio.CancelledError):
        await asking
