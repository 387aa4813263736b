"""A worker that hangs is killed once what its threads do is known and logged, whatever becomes of that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from torchserve.core.process_stacks import StacksUnknown
from torchserve.core.workers import thread_stacks
from torchserve.core.workers.load_failed import LoadFailed
from torchserve.core.workers.thread_stacks import ThreadStacks

from ..doubles import until
from .socket_pair import LONG, Pair, answer


def failing(error: Exception) -> Callable[[], Awaitable[str]]:
    async def stacks() -> str:
        raise error

    return stacks


async def told() -> str:
    return 'Current thread 0x1 (most recent call first):\n  File "handler.py", line 7 in handle\n' + "  File x\n" * 200


async def never() -> str:
    return await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("stacks", "said"),
    [
        (told, "responseTimeout). Its threads, the innermost call first:\nCurrent thread"),
        (failing(StacksUnknown("it takes no signal")), "What it does is not known: it takes no signal"),
        (never, "What it does is not known: it did not tell in 0 s"),
    ],
)
async def test_what_a_worker_does_that_is_overdue_is_logged(
    pairs: list[Pair], stacks: Callable[[], Awaitable[str]], said: str, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if stacks is never:
        monkeypatch.setattr(thread_stacks, "LAST_WORDS", 0.0)
    pairs.append(pair := Pair(timeout=0.05))
    pair.process.stacks = stacks  # type: ignore[method-assign]
    await pair.serves()
    await pair.run(7)
    assert await pair.ended() == "did not answer within 0.05 s (responseTimeout)"
    assert said in caplog.text
    assert len(caplog.text.splitlines()) < 70
    assert (pair.worker.cause, pair.told.said) == ("unresponsive", [("fail", 7)])


async def test_an_error_in_reading_the_stacks_kills_it_all_the_same(pairs: list[Pair]) -> None:
    pairs.append(pair := Pair(timeout=0.05))
    pair.process.stacks = failing(OSError("odd"))  # type: ignore[method-assign]
    await pair.serves()
    await pair.run(7)
    await pair.ended()
    assert pair.worker._dying is not None
    with pytest.raises(OSError, match="odd"):
        await pair.worker._dying


async def test_an_answer_that_comes_meanwhile_is_too_late(pairs: list[Pair]) -> None:
    pairs.append(pair := Pair(timeout=0.05))
    reading, read = asyncio.Event(), asyncio.Event()

    async def stacks() -> str:
        reading.set()
        await read.wait()
        return ""

    pair.process.stacks = stacks  # type: ignore[method-assign]
    await pair.serves()
    await pair.run(7)
    await reading.wait()
    assert pair.told.attached == set()
    await pair.send(answer(7), (b"a", b"b"))
    pair.worker._overdue(pair.worker._runs[7].batch)  # as another batch's timer does
    read.set()
    await pair.ended()
    assert (pair.told.said, pair.told.observed) == ([("fail", 7)], ["overdue", "overdue"])


async def test_what_a_process_does_that_does_not_load_is_logged(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    pair.process.stacks = told  # type: ignore[method-assign]
    with pytest.raises(LoadFailed, match=r"did not load the model in 0\.01 s"):
        await pair.worker.load(0.01, LONG)
    assert "(startupTimeout). Its threads" in caplog.text
    assert 'File "handler.py", line 7' in caplog.text


async def test_all_who_ask_at_a_time_get_one_look_and_each_rank_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def read(pid: int) -> str:
        looks.append(pid)
        if pid == 3:
            raise StacksUnknown("the process 3 has ended")
        return f"stacks of {pid}\n"

    monkeypatch.setattr(thread_stacks, "read_stacks", read)
    one = ThreadStacks(lambda: [1])
    assert await asyncio.gather(one.read(), one.read()) == ["stacks of 1\n"] * 2
    assert looks == [1]
    assert await one.read() == "stacks of 1\n"
    ranks = await ThreadStacks(lambda: [2, 3]).read()
    assert ranks == "Rank 0, process 2\n\nstacks of 2\n\nRank 1: the process 3 has ended\n"
    gone = asyncio.ensure_future(ThreadStacks(lambda: [3]).read())
    await until(lambda: looks.count(3) == 2)
    with pytest.raises(StacksUnknown):
        await gone
