"""The warm spare of a pool: when there is one, and whose place it takes. Time is virtual, and no process is started."""

from __future__ import annotations

import asyncio

from torchserve.core.workers.load_failed import LoadFailed

from ..doubles import in_virtual_time
from .pool_doubles import FakeWorker, Subject


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def spared(count: int) -> Subject:
    """A pool of `count` workers and a spare."""
    subject = Subject(warm_spare=True)
    await subject.pool.scale(count, count)
    await settled()
    assert subject.states == ["ready"] * count + ["spare"]
    return subject


def opened(subject: Subject) -> list[bool]:
    return [subject.worker(at).opened for at in range(len(subject.pool.slots))]


@in_virtual_time
async def test_one_worker_more_than_asked_stands_by() -> None:
    subject = await spared(2)
    assert opened(subject) == [True, True, False]
    assert [slot.number for slot in subject.pool.workers] == [9000, 9001]
    assert (subject.pool.ready, subject.pool.promising, subject.pool.in_state("spare")) == (2, 2, 1)
    await subject.end()


@in_virtual_time
async def test_the_spare_takes_over_from_a_worker_that_dies() -> None:
    subject = await spared(2)
    subject.worker(0).dies()
    await settled()
    assert subject.states == ["waiting", "ready", "ready"], "it serves before the other has been started again"
    assert opened_numbers(subject) == [9001, 9002]
    assert [slot.number for slot in subject.pool.workers] == [9001, 9002]
    await asyncio.sleep(60.0)
    assert subject.states == ["spare", "ready", "ready"]
    assert not subject.worker(0).opened
    subject.worker(2).dies()
    await settled()
    assert [slot.number for slot in subject.pool.workers] == [9000, 9001]
    await subject.end()


def opened_numbers(subject: Subject) -> list[int]:
    return [slot.number for slot in subject.pool.slots if slot.worker is not None and slot.worker.opened]  # type: ignore[attr-defined]


@in_virtual_time
async def test_a_spare_that_dies_is_started_again_as_one() -> None:
    subject = await spared(1)
    subject.worker(1).dies()
    await asyncio.sleep(60.0)
    assert subject.states == ["ready", "spare"]
    assert opened(subject) == [True, False]
    await subject.end()


@in_virtual_time
async def test_the_spare_is_the_first_of_those_that_are_added() -> None:
    subject = await spared(1)
    scaling = asyncio.create_task(subject.pool.scale(3, 3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert subject.worker(1).opened, "at once"
    await scaling
    await settled()
    assert sorted(subject.states) == ["ready", "ready", "ready", "spare"]
    assert opened_numbers(subject) == [9000, 9001, 9002]
    await subject.pool.scale(1, 1)
    assert sorted(subject.states) == ["ready", "spare"]
    await subject.pool.scale(0, 0)
    assert subject.states == [], "no workers, no spare"
    await subject.end()


@in_virtual_time
async def test_what_starts_or_ends_all_workers_has_the_spare_go_along() -> None:
    subject = await spared(1)
    await subject.pool.renew(0.0)
    await settled()
    assert (subject.states, subject.numbers) == (["ready", "spare"], [9002, 9003])
    await subject.pool.unload(lambda: True)
    assert subject.states == []
    assert subject.pool.unloaded
    await subject.pool.reload()
    await settled()
    assert subject.states == ["ready", "spare"]
    await subject.pool.resize(0)
    assert subject.states == ["ready", "spare"], "the minimum is one"
    await subject.end()


@in_virtual_time
async def test_a_spare_that_loads_while_a_worker_can_not_serves_at_once() -> None:
    subject = await spared(1)
    loaded = asyncio.Event()

    async def slow(_: FakeWorker) -> None:
        await asyncio.sleep(30.5)
        loaded.set()

    subject.launcher.outcomes, subject.launcher.always = [slow], LoadFailed("no")
    subject.worker(1).dies()
    await asyncio.sleep(20.0)
    subject.worker(0).dies()
    await loaded.wait()
    await settled()
    assert "ready" in subject.states
    assert opened_numbers(subject) == [9001]
    await subject.end()
