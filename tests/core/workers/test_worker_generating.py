"""A Worker whose process generates text: it has many requests at a time, and hears of their tokens."""

from __future__ import annotations

from typing import Any

import pytest

from torchserve.core.payload import Reply
from torchserve.core.wire.messages import Capacity, EngineReport, Load, Partial, Pieces, Result
from torchserve.scheduler.tokens import EngineBounds

from ..doubles import until
from .socket_pair import Pair, answer

GENERATING = Load("m", "1.0", "/m", "h.py", 1, asynchronous=True)


async def test_a_worker_that_generates_takes_what_the_scheduler_gives_it(pairs: list[Pair]) -> None:
    pairs.append(pair := Pair(load=GENERATING, generates=True))
    assert pair.worker.bounds is None
    await pair.serves(Capacity(128, 4096, 32, 512))
    assert pair.worker.bounds == EngineBounds(128, 4096, 512)
    await pair.run(1, 2, jobs=1)
    assert (pair.told.attached, pair.told.for_one) == ({pair.worker}, set())
    await pair.send(answer(1), (b"a",))
    await until(lambda: pair.told.ends)
    assert pair.told.attached == {pair.worker}


async def test_what_an_engine_reports_goes_to_the_scheduler_and_the_observer(pairs: list[Pair]) -> None:
    pairs.append(pair := Pair(load=GENERATING, generates=True))
    await pair.serves(Capacity(128, 4096))
    await pair.run(1, 2, jobs=1)
    first = EngineReport(2, 1, 0.25, (("r1-0", 5, 1), ("gone", 9, 9)), (), (), 5, 1)
    second = EngineReport(1, 0, 0.5, (("r1-0", 5, 3), ("r2-0", 4, 1)), (0.1, 0.1), ("stop",), 4, 3)
    await pair.send(first)
    await pair.send(second)
    await until(lambda: len(pair.told.reports) == 2)
    assert pair.told.tokens == [("r1-0", 5, 1), ("r1-0", 5, 3), ("r2-0", 4, 1)]
    assert pair.told.reports == [(first, [100.0]), (second, [100.0])], "a first token counts once"
    engine = pair.worker.engine
    assert engine is not None
    assert (engine.running, engine.waiting, engine.memory) == (1, 0, 0.5)
    assert (engine.prompt_tokens, engine.generation_tokens) == (9, 4)
    await pair.send(answer(1), (b"a",))
    await pair.send(second)
    await until(lambda: len(pair.told.reports) == 3)
    assert pair.told.tokens[3:] == [("r2-0", 4, 1)], "what is answered is not told of any more"


async def test_a_worker_that_did_not_tell_of_an_engine_reports_in_vain(pair: Pair) -> None:
    await pair.serves()
    await pair.send(EngineReport(1, 0, 0.0, (("r1-0", 5, 1),)))
    await pair.run(1)
    await pair.send(answer(1), (b"a", b"b"))
    await until(lambda: pair.told.ends)
    assert pair.told.reports == []


async def test_the_scheduler_knows_when_nothing_is_read(pairs: list[Pair]) -> None:
    pairs.append(pair := Pair(load=GENERATING, generates=True))
    await pair.serves(Capacity(128))
    await pair.run(1, jobs=1)
    held = pair.worker._runs[1].batch.jobs[0]
    pair.worker.hold(held)
    pair.worker.release(held)
    assert pair.told.order == ["paused", "resumed"]


EVENTS = Result(200, "", "text/event-stream", (("x", "y"),))


async def test_further_pieces_of_many_requests_have_the_heads_of_their_first_ones(pairs: list[Pair]) -> None:
    pairs.append(pair := Pair(load=GENERATING, generates=True))
    await pair.serves(Capacity(128))
    await pair.run(1, 2, jobs=1)
    await pair.send(Partial(1, (EVENTS,)), (b"a",))
    await pair.send(Partial(2, ()), (b"b",))
    await pair.send(Pieces((2, 1)), (b"c", b"d"))
    await until(lambda: len(pair.told.chunks) == 4)
    told = [(number, *items) for number, items in pair.told.chunks[2:]]
    assert told == [(2, Reply(b"c")), (1, Reply(b"d", 200, "", "text/event-stream", (("x", "y"),)))]


async def test_further_pieces_of_a_request_that_was_given_up_are_dropped(pairs: list[Pair]) -> None:
    pairs.append(pair := Pair(load=GENERATING, generates=True))
    await pair.serves(Capacity(128))
    await pair.run(1, 2, jobs=1)
    for number in (1, 2):
        await pair.send(Partial(number, (EVENTS,)), (b"a",))
    await until(lambda: len(pair.told.chunks) == 2)
    pair.worker._overdue(pair.worker._runs[1].batch)  # as its timer does
    await pair.send(Partial(1, (EVENTS,)), (b"b",))
    await pair.send(Pieces((1, 2)), (b"b", b"c"))
    await until(lambda: len(pair.told.chunks) == 3)
    assert [number for number, _ in pair.told.chunks] == [1, 2, 2]
    assert not pair.worker.ended.done()


@pytest.mark.parametrize(
    ("message", "bodies"),
    [(Pieces((1,)), ()), (Pieces((1,)), (b"a", b"b")), (Pieces((2,)), (b"a",)), (Pieces((9,)), (b"a",))],
    ids=["no body", "too many bodies", "before its first piece", "unknown"],
)
async def test_further_pieces_that_can_not_be_end_the_worker(pairs: list[Pair], message: Any, bodies: Any) -> None:
    pairs.append(pair := Pair(load=GENERATING, generates=True))
    await pair.serves(Capacity(128))
    await pair.run(1, 2, jobs=1)
    await pair.send(Partial(1, (EVENTS,)), (b"a",))
    await pair.send(message, bodies)
    assert "broke the protocol" in await pair.ended()
    assert pair.worker.cause == "protocol"
