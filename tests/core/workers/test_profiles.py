"""The front's side of a profile: one at a time, ended in time, whole or told why not."""

from __future__ import annotations

import asyncio

import pytest

from torchserve.core.errors import NotProfiled, ProfileRunning
from torchserve.core.wire.messages import Profile, Profiled
from torchserve.core.workers import profiles as module
from torchserve.core.workers.profiles import ProfileFile

from ..doubles import until
from .socket_pair import LONG, Pair


async def begun(pair: Pair, seconds: float = LONG, patience: float = LONG) -> asyncio.Task[ProfileFile]:
    await pair.serves()
    taking = asyncio.create_task(pair.worker.profiles.take(seconds, patience))
    assert (await pair.received())[0] == Profile(1, begin=True)
    return taking


async def test_a_profile_is_ended_after_its_seconds_and_put_together(pair: Pair) -> None:
    taking = await begun(pair, 0.01)
    assert (await pair.received())[0] == Profile(1, begin=False)
    for piece in (b"abc", b"def"):
        await pair.send(Profiled(1), (piece,))
    await pair.send(Profiled(1, last=True, note="3 batches"))
    assert await taking == (b"abcdef", "3 batches")


async def test_a_worker_may_end_it_itself_and_there_is_one_at_a_time(pair: Pair) -> None:
    taking = await begun(pair)
    with pytest.raises(ProfileRunning, match=r"W-9000-m_1\.0 is being taken"):
        await pair.worker.profiles.take(1.0, 1.0)
    await pair.send(Profiled(1, last=True, error="RuntimeError: no"))
    with pytest.raises(NotProfiled, match=r"There is no profile of W-9000-m_1\.0: RuntimeError: no\."):
        await taking
    again = asyncio.create_task(pair.worker.profiles.take(LONG, LONG))
    assert (await pair.received())[0] == Profile(2, begin=True)
    await pair.send(Profiled(2, last=True))
    assert (await again).data == b""


async def test_whoever_asks_may_leave_and_the_worker_is_free_once_it_has_told_all(pair: Pair) -> None:
    taking = await begun(pair)
    taking.cancel()
    assert (await pair.received())[0] == Profile(1, begin=False)
    with pytest.raises(ProfileRunning):
        await pair.worker.profiles.take(1.0, 1.0)
    await pair.send(Profiled(1, last=True))
    await until(lambda: not pair.worker.profiles.running)
    again = asyncio.create_task(pair.worker.profiles.take(LONG, LONG))
    assert (await pair.received())[0] == Profile(2, begin=True)
    pair.process.ends(1)
    with pytest.raises(NotProfiled, match="its process has ended"):
        await again


async def test_a_worker_that_does_not_end_it_is_given_up(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITING", 0.0)
    taking = await begun(pair, 0.0, 0.0)
    with pytest.raises(NotProfiled, match="--stacks"):
        await taking


@pytest.mark.parametrize(("number", "size"), [(1, 101), (2, 1), (0, 0)])
async def test_what_it_was_not_asked_for_ends_the_worker(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, number: int, size: int
) -> None:
    monkeypatch.setattr(module, "MOST_PROFILE", 100)
    taking = await begun(pair)
    await pair.send(Profiled(number), (b"x" * size,))
    assert f"a piece of profile {number}" in await pair.ended()
    with pytest.raises(NotProfiled, match="its process has ended"):
        await taking
