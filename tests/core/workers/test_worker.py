"""A Worker over a socketpair with real frames; its process and its scheduler are objects that record what they are told.

Each batch must end in exactly one of finish, fail and requeue, whatever comes over the socket.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from torchserve.core.errors import HandlerFailed, WorkerDied
from torchserve.core.payload import Reply
from torchserve.core.wire.messages import (
    DEFAULT_RESULT,
    Answer,
    Cancel,
    EngineMetrics,
    Failure,
    Initialized,
    Load,
    Loaded,
    Notes,
    Partial,
    Predict,
    Result,
)
from torchserve.core.workers.load_failed import LoadFailed
from torchserve.scheduler.job import Batch, ReleaseReason

from ..doubles import until
from .socket_pair import LOAD, LONG, Pair, answer, frame, job

TWO = (DEFAULT_RESULT, DEFAULT_RESULT)
BODIES = (b"one", b"two")
REFUSED = Failure("ValueError", "bad weights")


async def test_it_sends_the_load_and_takes_batches_once_it_is_opened(pair: Pair) -> None:
    loading = asyncio.ensure_future(pair.worker.load(LONG, LONG))
    assert await pair.received() == (LOAD, ())
    assert not loading.done()
    await pair.send(Loaded(200, "", notes={"compile": "off"}))
    await loading
    assert pair.worker.notes == {"compile": "off"}
    assert pair.process.settled
    assert pair.told.attached == set()
    pair.worker.open()
    assert pair.told.attached == {pair.worker}


@pytest.mark.parametrize(
    ("loaded", "out_of_memory"), [(Loaded(500, "no handler", REFUSED), False), (Loaded(507, "full", REFUSED), True)]
)
async def test_a_load_that_failed_says_why(pair: Pair, loaded: Loaded, out_of_memory: bool) -> None:
    loading = asyncio.ensure_future(pair.worker.load(LONG, LONG))
    await pair.received()
    await pair.send(loaded)
    with pytest.raises(LoadFailed, match=f"could not load the model: {loaded.message}") as caught:
        await loading
    assert (caught.value.out_of_memory, caught.value.failure) == (out_of_memory, REFUSED)


@pytest.mark.parametrize(
    ("code", "text", "out_of_memory"),
    [(3, "exited with code 3", False), (-11, "was killed by SIGSEGV", False), (-9, "was killed by SIGKILL", True)],
)
async def test_a_process_that_ends_while_it_loads_is_a_failed_load(
    pair: Pair, code: int, text: str, out_of_memory: bool
) -> None:
    loading = asyncio.ensure_future(pair.worker.load(LONG, LONG))
    await pair.received()
    pair.process.ends(code)
    with pytest.raises(LoadFailed, match=text) as caught:
        await loading
    assert caught.value.out_of_memory == out_of_memory
    pair.worker.open()
    assert pair.told.attached == set()  # it has ended


async def test_a_load_that_takes_too_long_is_ended(pair: Pair) -> None:
    with pytest.raises(LoadFailed, match=r"did not load the model in 0 s \(startupTimeout\)"):
        await pair.worker.load(0.0, LONG)
    assert (await pair.ended(), pair.worker.cause) == ("did not load the model in 0 s (startupTimeout)", "stopped")


async def test_a_warm_up_that_takes_too_long_is_ended(pair: Pair) -> None:
    loading = asyncio.ensure_future(pair.worker.load(LONG, 0.0))
    await pair.received()
    await pair.send(Initialized())
    with pytest.raises(LoadFailed, match=r"did not warm it up in 0 s \(warmUpTimeout"):
        await loading
    assert pair.worker.cause == "stopped"


async def test_a_batch_goes_out_with_its_rows_and_bodies(pair: Pair) -> None:
    await pair.serves()
    batch = Batch(7, (job("a"), job("b")), ReleaseReason.FULL, 0.0, pair.worker)
    pair.worker.run(batch)
    message, bodies = await pair.received()
    assert isinstance(message, Predict)
    assert [(row.request_id, row.headers, row.parts[0].name) for row in message.rows] == [
        ("a", {"h": "v"}, "body"),
        ("b", {"h": "v"}, "body"),
    ]
    assert bodies == (b"a", b"b")
    assert (pair.worker.busy, pair.worker.requests) == (True, ("a,b", ""))


ALONE = Result(503, "", None, (), error="this one failed")
ENDS = [
    ("replies", answer(7), BODIES, [Reply(b"one"), Reply(b"two")]),
    ("results", answer(7, results=(Result(201, "Made", "a/b", (("x", "y"),)), DEFAULT_RESULT)), BODIES,
     [Reply(b"one", 201, "Made", "a/b", (("x", "y"),)), Reply(b"two")]),
    ("a failure of all", answer(7, 507, "Out of resources"), (), [(507, "Out of resources")] * 2),
    ("a failure of one", answer(7, results=(DEFAULT_RESULT, ALONE), failure=REFUSED), (b"one", b""),
     [Reply(b"one"), (503, "this one failed")]),
    ("a large answer", answer(7), (b"1" * 90_000, b"2"), [Reply(b"1" * 90_000), Reply(b"2")]),
]  # fmt: skip


def plain(outcome: object) -> object:
    if isinstance(outcome, HandlerFailed):
        return outcome.status, outcome.message
    assert isinstance(outcome, Reply)
    return Reply(bytes(outcome.body), outcome.status, outcome.phrase, outcome.content_type, outcome.headers)


@pytest.mark.parametrize(("sent", "bodies", "outcomes"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
async def test_an_answer_ends_its_batch_once(pair: Pair, sent: Answer, bodies: Any, outcomes: list[object]) -> None:
    await pair.serves()
    await pair.run(7)
    await pair.send(sent, bodies)
    await until(lambda: pair.told.ends)
    assert pair.told.said == [("finish", 7)]
    assert [plain(outcome) for outcome in pair.told.ends[0][2]] == outcomes
    assert pair.told.observed == ["finishing", "finished"]
    assert pair.told.order == ["samples", "replies"]
    assert (pair.worker.busy, pair.worker.has_answered) == (False, True)
    assert (pair.worker.failed and pair.worker.failed[1]) == sent.failure
    assert pair.told.attached == {pair.worker}


async def test_partials_come_before_the_answer_that_ends_the_batch(pair: Pair) -> None:
    await pair.serves()
    await pair.run(7)
    for _ in range(2):
        await pair.send(Partial(7, TWO), BODIES)
    await until(lambda: len(pair.told.chunks) == 2)
    assert pair.told.chunks == [(7, [Reply(b"one"), Reply(b"two")])] * 2
    assert pair.told.ends == []
    await pair.send(answer(7), BODIES)
    await until(lambda: pair.told.ends)
    assert pair.told.said == [("finish", 7)]


async def test_a_frame_may_come_byte_by_byte(pair: Pair) -> None:
    await pair.serves()
    await pair.run(7)
    for byte in frame(answer(7), BODIES):
        await pair.send_bytes(bytes([byte]))
        await asyncio.sleep(0)
    await until(lambda: pair.told.ends)
    assert pair.told.said == [("finish", 7)]


BROKEN = [
    ("an answer to no batch", frame(answer(8), BODIES), "an answer to batch 8, which it does not run"),
    ("a partial of no batch", frame(Partial(8, TWO), BODIES), "an answer to batch 8, which it does not run"),
    ("an answer to a batch that waits", frame(answer(9), BODIES), "an answer to batch 9, which it does not run"),
    ("too few bodies", frame(answer(7), BODIES[:1]), "1 results and 1 bodies for 2 requests"),
    ("too many results", frame(answer(7, results=(*TWO, DEFAULT_RESULT)), BODIES), "3 results and 2 bodies for 2"),
    ("a partial with too few", frame(Partial(7, TWO[:1]), BODIES[:1]), "1 results and 1 bodies for 2 requests"),
    ("a second Loaded", frame(Loaded(200, "")), "a second Loaded"),
    ("what is no frame", b"HTTP/1.1 200 OK\r\n\r\n", ""),
    ("a message of the front", frame(LOAD), ""),
    ("a frame over the limit", frame(answer(7), (b"x" * 2_000_000, b"")), ""),
]  # fmt: skip


@pytest.mark.parametrize(("data", "text"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_a_breach_of_the_protocol_ends_the_worker(pair: Pair, data: bytes, text: str) -> None:
    await pair.serves()
    await pair.run(7, 9)
    await pair.send_bytes(data[:60_000])
    assert f"broke the protocol: {text}" in await pair.ended()
    assert pair.worker.cause == "protocol"
    assert pair.told.said == [("requeue", 9), ("fail", 7)]  # what was prefetched is run by another
    assert pair.told.attached == set()


@pytest.mark.parametrize(
    ("code", "cause", "out_of_memory"), [(0, "exited", False), (137, "exited", True), (-9, "killed", True)]
)
@pytest.mark.parametrize("torn", [0, 5, 40])
async def test_a_process_that_dies_fails_its_batch_and_gives_back_the_next(
    pair: Pair, code: int, cause: str, out_of_memory: bool, torn: int
) -> None:
    """`torn` bytes of the answer have come before."""
    await pair.serves()
    await pair.run(7, 8)
    await pair.send_bytes(frame(answer(7), BODIES)[:torn])
    pair.far.close()
    pair.process.ends(code)
    await pair.ended()
    assert pair.worker.cause == cause
    assert pair.told.said == [("requeue", 8), ("fail", 7)]
    error = pair.told.ends[1][2]
    assert isinstance(error, WorkerDied)
    assert error.out_of_memory == out_of_memory
    assert "while it ran this request in a batch of 2; it is being restarted" in error.message


async def test_a_closed_connection_of_a_live_process_ends_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchserve.core.workers.worker.STOP_GRACE", 0.0)
    await pair.serves()
    await pair.run(7, 8)
    await pair.send_bytes(frame(answer(7), BODIES)[:20])
    pair.far.close()
    assert await pair.ended() == "closed its connection"
    assert (pair.worker.cause, pair.told.said) == ("protocol", [("requeue", 8), ("fail", 7)])


async def test_a_batch_that_is_overdue_ends_the_worker(pairs: list[Pair]) -> None:
    pairs.append(pair := Pair(timeout=0.05))
    await pair.serves()
    await pair.run(7)
    assert await pair.ended() == "did not answer within 0.05 s (responseTimeout)"
    assert (pair.worker.cause, pair.told.observed) == ("unresponsive", ["overdue"])
    assert pair.told.said == [("fail", 7)]
    assert not pair.told.ends[0][2].out_of_memory  # the SIGKILL was the server's own


async def test_a_prefetched_batch_is_not_timed_until_it_begins(pair: Pair) -> None:
    await pair.serves()
    await pair.run(7, 8)
    first, second = pair.worker._runs.values()  # nothing else tells of their times
    assert (first.due is not None, second.due) == (True, None)
    pair.worker.batch_started(second.batch)
    assert second.due is not None


async def test_a_dead_device_context_ends_the_worker(pair: Pair) -> None:
    await pair.serves()
    await pair.run(7, 8)
    await pair.send(answer(7, 500, "x", fault="AcceleratorError", failure=REFUSED))
    assert "its device context is dead after AcceleratorError" in await pair.ended()
    assert (pair.worker.cause, pair.told.said) == ("device_fault", [("requeue", 8), ("fail", 7)])
    assert pair.worker.failed is not None


async def test_a_stop_waits_for_the_running_batch(pair: Pair) -> None:
    await pair.serves()
    await pair.run(7)
    stopping = asyncio.ensure_future(pair.worker.stop(LONG))
    await until(lambda: not pair.told.attached)
    await pair.send(answer(7), BODIES)
    async with asyncio.timeout(60):
        assert await asyncio.get_running_loop().sock_recv(pair.far, 1) == b""  # the order to end
    pair.process.ends(0)
    await stopping
    assert pair.told.said == [("finish", 7)]


async def test_a_stop_without_grace_fails_the_running_batch(pair: Pair) -> None:
    await pair.serves()
    await pair.run(7)
    await pair.worker.stop(0.0)
    assert (pair.told.said, pair.worker.cause) == ([("fail", 7)], "stopped")


@pytest.mark.parametrize("busy", [True, False])
async def test_a_lost_gpu_is_left_once_the_batch_has_ended(pair: Pair, busy: bool) -> None:
    await pair.serves()
    if busy:
        await pair.run(7)
    pair.worker.evacuate("GPU 0 is lost")
    assert pair.told.attached == set()
    if busy:
        assert not pair.process.exited.done()
        await pair.send(answer(7), BODIES)
    assert (await pair.ended(), pair.worker.cause) == ("GPU 0 is lost", "gpu_lost")
    assert pair.told.said == [("finish", 7)] * busy


async def test_an_asynchronous_worker_gives_up_one_request_and_serves_the_others(pairs: list[Pair]) -> None:
    pairs.append(pair := Pair(load=Load("m", "1.0", "/m", "h.py", 1, asynchronous=True)))
    await pair.serves()
    await pair.run(1, 2, jobs=1)
    await pair.send(answer(2), (b"b",))
    await until(lambda: pair.told.ends)
    pair.worker._overdue(pair.worker._runs[1].batch)  # as its timer does
    assert pair.told.said == [("finish", 2), ("finish", 1)]
    assert isinstance(pair.told.ends[1][2][0], HandlerFailed)
    assert (await pair.received())[0] == Cancel(1)
    await pair.send(answer(1), (b"late",))  # dropped
    await pair.run(3, jobs=1)
    await pair.send(answer(3), (b"c",))
    await until(lambda: len(pair.told.ends) == 3)
    assert not pair.process.exited.done()


async def test_a_slot_of_an_asynchronous_worker_is_for_one_batch(pairs: list[Pair]) -> None:
    """Else the scheduler may prefetch a second one into it, of requests that come at the same moment."""
    pairs.append(pair := Pair(load=Load("m", "1.0", "/m", "h.py", 1, asynchronous=True)))
    await pair.serves()
    pairs.append(plain := Pair())
    await plain.serves()
    assert (pair.told.for_one, plain.told.for_one) == (pair.told.attached, set())


async def test_an_asynchronous_worker_is_told_of_a_batch_that_nobody_waits_for(pairs: list[Pair]) -> None:
    pairs.append(pair := Pair(load=Load("m", "1.0", "/m", "h.py", 1, asynchronous=True)))
    await pair.serves()
    await pair.run(1, 2, jobs=1)
    running = pair.worker._runs[2].batch
    pair.worker.interrupt(running)
    assert (await pair.received())[0] == Cancel(2)
    await pair.send(answer(2, 499, "Cancelled"), ())
    await until(lambda: pair.told.ends)
    assert pair.told.said == [("finish", 2)]
    pair.worker.interrupt(running)  # too late: says nothing
    await pair.run(3, jobs=1)


async def test_another_worker_runs_a_batch_that_nobody_waits_for_to_its_end(pairs: list[Pair]) -> None:
    pairs.append(pair := Pair())
    await pair.serves()
    await pair.run(1)
    pair.worker.interrupt(pair.worker._runs[1].batch)
    await pair.run(2)  # the next frame that the backend gets is this one


async def test_what_is_chosen_while_it_serves_is_noted_and_batches_take_another_time_then(pair: Pair) -> None:
    await pair.serves()
    assert "relearn" not in pair.told.order
    await pair.send(Notes({"freeze": "frozen"}))
    await until(lambda: pair.worker.notes == {"freeze": "frozen"})
    assert pair.told.order[-1] == "relearn"


async def test_the_metrics_of_its_engine_are_handed_over_and_end_with_the_process(pair: Pair) -> None:
    await pair.serves()
    await pair.send(EngineMetrics("a 1"))
    await until(lambda: pair.told.engines == {"W-9000-m_1.0": "a 1"})
    pair.process.ends(1)
    await pair.ended()
    assert pair.told.engines == {"W-9000-m_1.0": ""}


@pytest.mark.parametrize(
    ("streamed", "killed", "end"), [(False, False, "repeat"), (True, False, "fail"), (False, True, "fail")]
)
async def test_what_an_idempotent_model_ran_is_repeated_unless_it_streamed_or_was_too_slow(
    pairs: list[Pair], *, streamed: bool, killed: bool, end: str
) -> None:
    pairs.append(pair := Pair(idempotent=True))
    await pair.serves()
    await pair.run(1, 2)
    if streamed:
        await pair.send(Partial(1, (Result(200, "", None, ()),) * 2), (b"a", b"b"))
        await until(lambda: pair.told.chunks)
    if killed:
        pair.worker._kill("did not answer", "unresponsive")
    pair.process.ends(1)
    await pair.ended()
    assert pair.told.said == [("requeue", 2), (end, 1)]
