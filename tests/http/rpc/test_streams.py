"""Streamed answers, sequences, clients that read slowly or not at all, and ends in the middle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from torchserve.core.errors import HandlerFailed, QueueFull, WorkerDied
from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits
from torchserve.http.rpc.status import Code

from ..doubles import FakeDataPlane, Sink, until
from .doubles import PREDICTIONS, SEQUENCES, STREAM, Called, Desk, Request

ONE = Request(model_name="m", input={"data": b"hello"})


class Worker:
    """Keeps the sinks that were submitted, for the test to answer."""

    def __init__(self) -> None:
        self.sinks: list[Sink] = []
        self.payloads: list[Payload] = []

    def __call__(self, payload: Payload, sink: Sink) -> None:
        self.payloads.append(payload)
        self.sinks.append(sink)


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def desk(worker: Worker) -> Desk:
    return Desk(FakeDataPlane(behave=worker, statefully=True))


def bodies(call: Called) -> list[bytes]:
    return [each.prediction for each in call.messages()]


async def test_each_piece_of_a_stream_is_a_message(desk: Desk, worker: Worker) -> None:
    call = desk.call(STREAM).say(ONE)
    worker.sinks[0].chunk(Reply(b"a"))
    assert bodies(call) == [b"a"]
    worker.sinks[0].chunk(Reply(b""))
    worker.sinks[0].chunk(Reply(b"b"))
    worker.sinks[0].done(Reply(b""))
    assert bodies(call) == [b"a", b"", b"b"]
    assert call.code == Code.OK
    assert len(desk.data.ends) == len(desk.log) == 1


async def test_a_handler_that_does_not_stream_gives_one_message(desk: Desk, worker: Worker) -> None:
    call = desk.call(STREAM).say(ONE)
    worker.sinks[0].done(Reply(b""))
    assert bodies(call) == [b""]
    assert call.code == Code.OK


async def test_a_unary_call_of_a_handler_that_streams_gets_all_pieces_in_one(desk: Desk, worker: Worker) -> None:
    call = desk.call(PREDICTIONS).say(ONE)
    for piece in (b"a", b"b"):
        worker.sinks[0].chunk(Reply(piece))
    assert call.messages() == []
    worker.sinks[0].done(Reply(b"c"))
    assert bodies(call) == [b"abc"]
    assert call.code == Code.OK


async def test_a_unary_call_keeps_only_so_much_of_a_stream(worker: Worker) -> None:
    desk = Desk(FakeDataPlane(behave=worker), limits=Limits(max_unsent=10))
    call = desk.call(PREDICTIONS).say(ONE)
    worker.sinks[0].chunk(Reply(b"0123456789"))
    assert call.code is None
    worker.sinks[0].chunk(Reply(b"x"))
    assert call.code == Code.RESOURCE_EXHAUSTED
    assert "streaming method" in call.text
    assert desk.data.cancelled == 1


async def test_a_stream_that_breaks_off_says_why_behind_what_came(desk: Desk, worker: Worker) -> None:
    call = desk.call(STREAM).say(ONE)
    worker.sinks[0].chunk(Reply(b"a"))
    worker.sinks[0].fail(WorkerDied("Worker died."))
    assert bodies(call) == [b"a"]
    assert call.code == Code.INTERNAL
    assert call.text.startswith("Worker died.")
    assert len(desk.data.ends) == 1


async def test_a_handler_s_code_200_is_an_answer(desk: Desk, worker: Worker) -> None:
    call = desk.call().say(ONE)
    worker.sinks[0].fail(HandlerFailed("whatever", 200))
    assert bodies(call) == [b"error"]
    assert call.code == Code.OK


async def test_a_worker_waits_for_a_client_that_reads_slowly(desk: Desk, worker: Worker) -> None:
    call = desk.call(STREAM).say(ONE)
    call.stream.full = True
    worker.sinks[0].chunk(Reply(b"a"))
    assert desk.data.held_up == 1
    call.stream.full = False
    call.handler.writable()
    assert desk.data.held_up == 0
    worker.sinks[0].done(Reply(b"b"))
    assert bodies(call) == [b"a", b"b"]


async def test_a_client_that_never_reads_is_ended_and_its_worker_goes_on(worker: Worker) -> None:
    desk = Desk(FakeDataPlane(behave=worker), limits=Limits(worker_wait=0.05))
    call = desk.call(STREAM).say(ONE)
    call.stream.full = True
    worker.sinks[0].chunk(Reply(b"a"))
    await until(lambda: call.code is not None)
    assert call.code == Code.CANCELLED
    assert desk.data.held_up == 0
    assert desk.data.cancelled == 1
    worker.sinks[0].chunk(Reply(b"b"))
    assert bodies(call) == [b"a"]


async def test_a_client_that_leaves_lets_its_worker_go_on(desk: Desk, worker: Worker) -> None:
    call = desk.call(STREAM).say(ONE)
    call.stream.full = True
    worker.sinks[0].chunk(Reply(b"a"))
    call.leave()
    assert desk.data.held_up == 0
    assert desk.data.cancelled == 1


# ---- StreamPredictions2


def ask(body: bytes, sequence: str = "s", **others: Any) -> Any:
    return Request(model_name="m", input={"data": body}, sequence_id=sequence, **others)


async def test_the_requests_of_a_sequence_are_answered_on_one_call(desk: Desk, worker: Worker) -> None:
    call = desk.call(SEQUENCES).say(ask(b"1"), end=False)
    worker.sinks[0].done(Reply(b"one"))
    call.say(ask(b"2"), ask(b"3", "t"))
    assert call.code is None
    worker.sinks[2].done(Reply(b"three"))
    worker.sinks[1].done(Reply(b"two"))
    assert [(each.prediction, each.sequence_id) for each in call.messages()] == [
        (b"one", "s"), (b"three", "t"), (b"two", "s"),
    ]  # fmt: skip
    assert call.code == Code.OK
    assert [each.headers["ts_request_sequence_id"] for each in worker.payloads] == ["s", "s", "t"]
    assert len({each.request_id for each in worker.payloads}) == 3
    assert len(desk.data.ends) == 3
    assert len(desk.log) == 1


async def test_one_failed_request_does_not_end_the_others(desk: Desk, worker: Worker) -> None:
    call = desk.call(SEQUENCES).say(ask(b"1"), ask(b"2"), end=False)
    worker.sinks[0].fail(QueueFull("full"))
    worker.sinks[1].done(Reply(b"two"))
    call.end()
    failed, answered = call.messages()
    assert failed.HasField("status")
    assert (failed.status.code, failed.status.message, failed.sequence_id) == (8, "full", "s")
    assert not answered.HasField("status")
    assert call.code == Code.OK


# Requests that are refused in a message, and what it says.
REFUSED = [
    (Request(model_name="m", input={"data": b"1"}), 13, "Parameter sequenceId is required."),
    (Request(model_name="x", sequence_id="s"), 5, "Model not found: x"),
    (Request(model_name="m", model_version="9", sequence_id="s"), 5, "Model version: 9 does not exist for model: m"),
    (b"\xff", 3, "The request is not the message that this method takes"),
]


@pytest.mark.parametrize(("asked", "code", "text"), REFUSED, ids=range(len(REFUSED)))
async def test_a_wrong_request_is_refused_in_a_message(
    desk: Desk, worker: Worker, asked: Any, code: int, text: str
) -> None:
    call = desk.call(SEQUENCES).say(asked, ask(b"1"))
    worker.sinks[0].done(Reply(b"one"))
    refused, answered = call.messages()
    assert refused.status.code == code
    assert refused.status.message.startswith(text)
    assert answered.prediction == b"one"
    assert call.code == Code.OK


async def test_a_model_without_sequences_refuses_the_call(worker: Worker) -> None:
    desk = Desk(FakeDataPlane(behave=worker))
    call = desk.call(SEQUENCES).say(ask(b"1"), end=False)
    assert call.code == Code.FAILED_PRECONDITION
    assert "sequenceBatching" in call.text


async def test_the_metadata_may_begin_a_sequence_whose_name_the_answer_tells(desk: Desk, worker: Worker) -> None:
    call = desk.call(SEQUENCES, ts_request_sequence_start="true")
    call.say(Request(model_name="m", input={"data": b"1"}))
    name = worker.payloads[0].headers["ts_request_sequence_id"]
    assert name.startswith("ts-seq-")
    worker.sinks[0].done(Reply(b"one"))
    assert call.messages()[0].sequence_id == name


async def test_a_call_without_requests_ends_well(desk: Desk) -> None:
    assert desk.call(SEQUENCES).end().code == Code.OK


async def test_no_request_is_read_while_the_client_takes_no_answers(desk: Desk, worker: Worker) -> None:
    call = desk.call(SEQUENCES).say(ask(b"1"), end=False)
    before = call.stream.taken
    call.stream.full = True
    call.say(ask(b"2"), ask(b"3"))
    assert len(worker.sinks) == 1
    sent = call.stream.taken - before
    call.say(ask(b"4"), end=False)
    assert call.stream.taken - before == sent
    call.stream.full = False
    call.handler.writable()
    assert len(worker.sinks) == 4
    assert call.stream.taken > sent
    for sink in worker.sinks:
        sink.done(Reply(b"x"))
    assert len(call.messages()) == 4
    assert call.code == Code.OK


async def test_a_call_that_its_client_leaves_open_ends_with_the_server_once_all_is_answered(worker: Worker) -> None:
    desk = Desk(FakeDataPlane(behave=worker, statefully=True), limits=Limits(health_look=0.005))
    call = desk.call(SEQUENCES).say(ask(b"1"), end=False)
    desk.context.draining = True
    for _ in range(5):  # of the looks at whether it may end
        await asyncio.sleep(0.005)
    assert call.code is None
    worker.sinks[0].done(Reply(b"one"))
    await until(lambda: call.code is not None)
    assert call.code == Code.UNAVAILABLE
    assert [each.prediction for each in call.messages()] == [b"one"]
    assert len(desk.log) == 1
