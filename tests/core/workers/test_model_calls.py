"""Calls between models, seen by one worker over a socketpair with real frames: each has exactly one Called."""

from __future__ import annotations

from typing import Any

import pytest

from torchserve.core.errors import ModelNotFound, WorkerDied
from torchserve.core.payload import Reply
from torchserve.core.wire.messages import Call, CallCancel, Called, PartHead
from torchserve.core.workers import model_calls
from torchserve.core.workers.call_plane import CallOrder

from .socket_pair import LOAD, Pair, answer

BODY = (PartHead("body", "text/plain"),)


class Plane:
    """A server that keeps the calls, for the test to answer."""

    def __init__(self) -> None:
        self.orders: list[CallOrder] = []
        self.sinks: list[Any] = []
        self.ends: list[str] = []
        self.batches: list[int] = []

    def begin(self, order: CallOrder, sink: Any) -> Plane:
        if order.model == "gone":
            raise ModelNotFound("gone")
        self.orders.append(order)
        self.sinks.append(sink)
        return self

    def taken(self, batch: Any) -> None:
        self.batches.append(batch.id)

    def succeeded(self, seconds: float) -> None:
        self.ends.append("succeeded")

    def failed(self, error: BaseException) -> None:
        self.ends.append("failed")

    def cancel(self, error: Exception | None = None) -> None:
        self.ends.append("cancel" if error is None else f"cancel: {type(error).__name__}")


@pytest.fixture
async def plane() -> Plane:
    return Plane()


@pytest.fixture
async def pair(plane: Plane) -> Any:
    made = Pair(calls=plane)  # type: ignore[arg-type]
    await made.serves()
    await made.run(1)
    yield made
    made.process.kill()
    made.far.close()


async def call(pair: Pair, plane: Plane, number: int = 5, row: int = 1, **more: Any) -> Any:
    await pair.send(Call(number, 1, row, "other", BODY, **more), [b"data"])
    while not plane.sinks:
        await model_calls.asyncio.sleep(0)
    return plane.sinks[-1]


async def told(pair: Pair) -> tuple[Called, list[bytes]]:
    message, bodies = await pair.received()
    assert isinstance(message, Called)
    return message, [bytes(body) for body in bodies]


async def test_an_answer_goes_back(pair: Pair, plane: Plane) -> None:
    sink = await call(pair, plane, version="2.0")
    (order,) = plane.orders
    assert (order.caller, order.model, order.version, order.parts[0].body) == ("m", "other", "2.0", b"data")
    assert [job.id for job in order.jobs] == ["r1-1"]
    sink.chunk(Reply(b"one "))
    sink.done(Reply(b"two", 200, "", "text/x", (("h", "v"),)))
    assert await told(pair) == (Called(5, 200, "text/x", (("h", "v"),)), [b"one two"])
    assert plane.ends == ["succeeded"]
    sink.done(Reply(b"again"))
    sink.fail(ValueError())
    assert plane.ends == ["succeeded"]


@pytest.mark.parametrize(
    ("end", "status", "text", "counted"),
    [
        (lambda sink: sink.fail(WorkerDied("died", out_of_memory=True)), 507, "died", "failed"),
        (lambda sink: sink.fail(ValueError()), 500, "ValueError", "failed"),
        (lambda sink: sink.done(Reply(b"no such", 404)), 404, "status 404: no such", "failed"),
        (lambda sink: sink.chunk(Reply(b"x" * 100_001)), 413, "max_response_size", "cancel: TooLarge"),
    ],
)
async def test_an_error_goes_back(pair: Pair, plane: Plane, end: Any, status: int, text: str, counted: str) -> None:
    end(await call(pair, plane, row=-1))
    assert len(plane.orders[0].jobs) == 2
    message, bodies = await told(pair)
    assert (message.call, message.status, bodies) == (5, status, [])
    assert text in message.error
    assert plane.ends == [counted]


async def test_what_is_refused_is_told(pair: Pair, monkeypatch: pytest.MonkeyPatch, plane: Plane) -> None:
    await pair.send(Call(7, 1, 0, "gone", BODY), [b""])
    assert await told(pair) == (Called(7, 404, error="Model not found: gone"), [])
    await pair.send(Call(8, 99, 0, "other", BODY), [b""])
    message, _ = await told(pair)
    assert (message.call, message.status) == (8, 499)
    monkeypatch.setattr(model_calls, "MOST_CALLS", 0)
    await pair.send(Call(9, 1, 0, "other", BODY), [b""])
    message, _ = await told(pair)
    assert (message.call, message.status) == (9, 503)
    assert "0 may be" in message.error
    assert plane.orders == []


async def test_cancels_and_ends(pair: Pair, plane: Plane) -> None:
    await call(pair, plane)
    await pair.send(CallCancel(5))
    await pair.send(CallCancel(5))
    assert (await told(pair))[0].status == 499
    await call(pair, plane, number=6)
    await pair.send(answer(1, results=()), [b"one", b"two"])
    message, _ = await told(pair)
    assert (message.call, message.status) == (6, 499)
    assert "it has been answered" in message.error
    assert plane.ends == ["cancel", "cancel"]
    assert pair.told.said == [("finish", 1)]


async def test_its_time_ends_a_call(pair: Pair, plane: Plane) -> None:
    await call(pair, plane, timeout=0.01)
    message, _ = await told(pair)
    assert message.status == 504
    assert "within the 10 ms" in message.error
    assert plane.ends == ["cancel: RequestExpired"]


async def test_its_clients_end_a_call(pair: Pair, plane: Plane) -> None:
    await call(pair, plane)
    (order,) = plane.orders
    for job in order.batch.jobs:
        job.cancelled = True
    pair.worker.interrupt(order.batch)
    assert (await told(pair))[0].status == 499
    await pair.send(Call(6, 1, 0, "other", BODY), [b""])
    assert "its client has left" in (await told(pair))[0].error


async def test_a_client_that_leaves_alone_costs_the_others_of_its_batch_nothing(pair: Pair, plane: Plane) -> None:
    await call(pair, plane, row=0)
    (order,) = plane.orders
    order.jobs[0].cancelled = True
    await pair.send(Call(6, 1, 0, "other", BODY), [b""])
    await pair.send(CallCancel(5))
    assert (await told(pair))[0].call == 5
    plane.sinks[1].done(Reply(b"later"))
    message, bodies = await told(pair)
    assert (message.call, message.status, bodies) == (6, 200, [b"later"])


async def test_the_death_of_the_process_ends_a_call(pair: Pair, plane: Plane) -> None:
    await call(pair, plane)
    await pair.run(2)
    assert plane.batches == [2]  # for the server to look whether it may wait there
    pair.process.ends(1)
    await pair.ended()
    assert plane.ends == ["cancel: WorkerDied"]
    assert pair.worker.calls.open == {}


@pytest.mark.parametrize(
    "message",
    [Call(5, 1, 2, "other", BODY), Call(5, 1, 0, "other", ()), Call(6, 1, 0, "other", BODY)],
)
async def test_calls_that_make_no_sense_end_the_worker(pair: Pair, plane: Plane, message: Call) -> None:
    await call(pair, plane, number=6)
    await pair.send(message, [b""])
    await pair.ended()
    assert pair.worker.cause == "protocol"


def test_the_pairs_model_is_plain() -> None:
    assert not LOAD.asynchronous
