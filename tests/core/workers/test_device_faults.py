"""A worker whose device context is dead is replaced, one that ran out of memory is not. The worker is a real process; of
torch it has only the exceptions, so that it is quick.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from torchserve.core.dataplane import DataPlane
from torchserve.core.errors import HandlerFailed, WorkerDied
from torchserve.core.payload import Part, Payload, Reply

from ..doubles import Sink, folder, until
from ..house import House

HANDLER = """
import sys, types

class AcceleratorError(RuntimeError):
    pass

class OutOfMemoryError(RuntimeError):
    pass

torch = types.ModuleType("torch")
torch.AcceleratorError, torch.OutOfMemoryError = AcceleratorError, OutOfMemoryError
torch.cuda = types.SimpleNamespace(is_initialized=lambda: False)
sys.modules["torch"] = torch

def handle(data, context):
    for row in data or ():
        word, _, code = bytes(row["body"]).decode().partition(" ")
        if word == "fault":
            error = AcceleratorError("CUDA error: an error")
            error.error_code = int(code)
            raise error
        if word == "full":
            raise OutOfMemoryError("CUDA out of memory")
        if word == "text":
            raise RuntimeError("CUDA error: device-side assert triggered")
    return data and [b"ok"] * len(data)
"""


class Served:
    def __init__(self, house: House) -> None:
        self.data = DataPlane(house.registry, 1 << 30)
        self.pool = house.registry.get("m").pool

    async def ask(self, *texts: str) -> list[Any]:
        sinks = [Sink() for _ in texts]
        for text, sink in zip(texts, sinks, strict=True):
            payload = Payload(text, (Part("body", "application/octet-stream", text.encode()),))
            self.data.submit("m", None, payload, sink)
        async with asyncio.timeout(60):
            await asyncio.gather(*(sink.told.wait() for sink in sinks))
        return [sink.outcome for sink in sinks]

    @property
    def pid(self) -> int:
        worker = self.pool.slots[0].worker
        return worker.process.pid if worker is not None else -1


async def served(tmp_path: Path, config: str = "") -> tuple[House, Served]:
    (tmp_path / "store").mkdir()
    house = House(tmp_path)
    folder(house.store, "m", HANDLER, config=f"batchSize: 3\nmaxBatchDelay: 60000\nbatchPolicy: fixed\n{config}")
    await house.register(initial_workers=1)
    return house, Served(house)


@pytest.mark.parametrize("code", [214, 700, 710, 719])
async def test_a_worker_whose_context_is_dead_is_replaced_and_its_batch_told(tmp_path: Path, code: int) -> None:
    house, subject = await served(tmp_path)
    assert [type(each) for each in await subject.ask("a", "b", "c")] == [Reply] * 3
    before = subject.pid
    for outcome in await subject.ask("a", f"fault {code}", "c"):
        assert isinstance(outcome, WorkerDied)
        assert not outcome.out_of_memory  # a 500
        assert outcome.message.startswith(
            f"Worker died. {subject.pool.slots[0].name} of model m version 1.0 was ended because its device context is"
            " dead after a"
        )
        assert f", error {code}, while it ran this request in a batch of 3; it is being restarted." in outcome.message
    assert [type(each) for each in await subject.ask("a", "b", "c")] == [Reply] * 3
    assert subject.pid not in {before, -1}
    (entry,) = await house.plane.describe("m", None)
    assert entry["workers"][0]["lastFailure"]["kind"] == "AcceleratorError"
    await house.plane.close(0.0)


@pytest.mark.parametrize("text", ["full", "fault 2", "text"])
async def test_a_worker_that_only_ran_out_of_memory_stays(tmp_path: Path, text: str) -> None:
    house, subject = await served(tmp_path)
    before = subject.pid
    for outcome in await subject.ask("a", text, "c"):
        assert isinstance(outcome, HandlerFailed)
        assert (outcome.status, outcome.message) == (507, "Out of resources")
    assert [type(each) for each in await subject.ask("a", "b", "c")] == [Reply] * 3
    assert subject.pid == before
    await house.plane.close(0.0)


async def test_what_waits_behind_it_is_served_by_its_successor(tmp_path: Path) -> None:
    house, subject = await served(tmp_path)
    await subject.ask("a", "b", "c")
    outcomes = await subject.ask("fault 710", "b", "c", *"defghijkl")
    assert [type(each) for each in outcomes] == [WorkerDied] * 3 + [Reply] * 9
    await house.plane.close(0.0)


async def test_a_model_whose_requests_always_kill_it_is_restarted_with_back_off(tmp_path: Path) -> None:
    """A worker that has answered nothing yet counts as one that could not be started."""
    house, subject = await served(tmp_path)
    await subject.ask("fault 710", "b", "c")
    slot = subject.pool.slots[0]
    await until(lambda: slot.state.value == "waiting")
    await house.plane.close(0.0)


async def test_an_asynchronous_worker_is_replaced_too(tmp_path: Path) -> None:
    house, subject = await served(tmp_path, "asyncCommunication: true\n")
    assert [type(each) for each in await subject.ask("a")] == [Reply]
    before = subject.pid
    assert [type(each) for each in await subject.ask("fault 710")] == [WorkerDied]
    assert [type(each) for each in await subject.ask("a")] == [Reply]
    assert subject.pid != before
    await house.plane.close(0.0)


async def test_a_batch_is_not_run_again_on_a_dead_context(tmp_path: Path) -> None:
    """With isolateErrors its requests would each be run alone, and each fail."""
    house, subject = await served(tmp_path, "isolateErrors: true\n")
    await subject.ask("a", "b", "c")
    before = subject.pid
    outcomes = await subject.ask("a", "fault 710", "c")
    assert [type(each) for each in outcomes] == [WorkerDied] * 3
    assert [type(each) for each in await subject.ask("a", "b", "c")] == [Reply] * 3
    assert subject.pid != before
    await house.plane.close(0.0)
