"""Pool: what commands make of its slots, also when they meet, in virtual time and without a process.

test_lives.py does the same to real processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from torchserve.core.errors import Draining, WorkersFailed
from torchserve.core.workers.load_failed import LoadFailed
from torchserve.core.workers.pool import STOP_WAIT, Pool

from ..doubles import in_virtual_time
from .pool_doubles import MAX_RETRY, FakeWorker, Subject

BROKEN = LoadFailed("W could not load the model: no such file")


@pytest.mark.parametrize(
    ("there", "minimum", "maximum", "left"),
    [(0, 2, 4, 2), (3, 1, 4, 3), (3, 1, 2, 2), (1, 2, 4, 2), (2, 0, 0, 0)],
)
@in_virtual_time
async def test_a_scale_brings_the_number_within_the_bounds(there: int, minimum: int, maximum: int, left: int) -> None:
    subject = Subject()
    await subject.serves(there)
    await subject.pool.scale(minimum, maximum)
    assert subject.numbers == list(range(9000, 9000 + left)), "the newest go"
    assert (subject.pool.minimum, subject.pool.maximum, subject.pool.scaled) == (minimum, maximum, True)
    assert all(worker.graces == [STOP_WAIT] for worker in subject.launcher.workers[left:there])
    await subject.end()


@in_virtual_time
async def test_a_scale_gives_those_that_were_given_up_another_chance() -> None:
    subject = Subject(max_retry=0.0)
    subject.launcher.outcomes = [BROKEN]
    with pytest.raises(WorkersFailed):
        await subject.pool.scale(1, 1)
    await asyncio.sleep(1)
    assert subject.states == ["given_up"]
    await subject.pool.scale(1, 1)
    assert (subject.states, subject.numbers) == (["ready"], [9001])
    await subject.end()


@in_virtual_time
async def test_a_resize_takes_away_what_serves_least() -> None:
    subject = Subject()
    await subject.serves(3, 4)
    subject.pool.minimum = 1
    subject.worker(0).busy = True
    subject.launcher.always = BROKEN
    subject.worker(2).dies()
    await asyncio.sleep(1.5)
    assert subject.states == ["ready", "ready", "waiting"]
    for left in ([9000, 9001], [9000]):
        await subject.pool.resize(len(left))
        assert subject.numbers == left, "first what doesn't serve, then what is idle"
    await subject.end()


@pytest.mark.parametrize(("count", "left"), [(0, 1), (9, 3)])
@in_virtual_time
async def test_a_resize_stays_within_the_bounds(count: int, left: int) -> None:
    subject = Subject()
    await subject.pool.scale(1, 3)
    await subject.pool.resize(count)
    assert subject.states == ["ready"] * left
    await subject.end()


@in_virtual_time
async def test_a_resize_that_fails_keeps_what_serves_and_nothing_else() -> None:
    subject = Subject()
    await subject.pool.scale(1, 4)
    subject.launcher.outcomes = [BROKEN, lambda worker: asyncio.sleep(0), BROKEN]
    with pytest.raises(WorkersFailed):
        await subject.pool.resize(4)
    assert (subject.states, subject.numbers) == (["ready", "ready"], [9000, 9002])
    await subject.end()


@in_virtual_time
async def test_a_resize_that_fails_keeps_the_minimum_to_be_tried_again() -> None:
    subject = Subject()
    await subject.pool.scale(1, 4)
    subject.pool.minimum = 2
    subject.launcher.outcomes = [BROKEN, BROKEN]
    with pytest.raises(WorkersFailed):
        await subject.pool.resize(3)
    assert subject.states == ["ready", "waiting"]
    await asyncio.sleep(2)
    assert subject.states == ["ready", "ready"]
    await subject.end()


@in_virtual_time
async def test_a_renewal_puts_a_new_worker_beside_each_old_one_before_it_goes() -> None:
    subject = Subject()
    await subject.serves(2)
    old = list(subject.launcher.workers)
    await subject.pool.renew(7.0)
    assert (subject.states, subject.numbers) == (["ready"] * 2, [9002, 9003])
    assert [worker.graces for worker in old] == [[7.0], [7.0]]
    await subject.end()


@pytest.mark.parametrize(("minimum", "back"), [(0, 1), (2, 2)])
@in_virtual_time
async def test_an_unloaded_pool_comes_back_with_its_minimum_but_at_least_one(minimum: int, back: int) -> None:
    subject = Subject()
    await subject.pool.scale(max(1, minimum), 3)
    await subject.pool.scale(minimum, 3)
    await subject.pool.unload(lambda: False)
    assert not subject.pool.unloaded, "it was not agreed to"
    await subject.pool.unload(lambda: True)
    assert (subject.pool.unloaded, subject.pool.slots) == (True, [])
    await subject.pool.reload()
    await subject.pool.reload()
    assert subject.states == ["ready"] * back
    await subject.end()


@in_virtual_time
async def test_a_pool_that_was_scaled_to_nothing_is_not_unloaded_and_does_not_come_back() -> None:
    subject = Subject()
    await subject.pool.scale(0, 0)
    assert not subject.pool.unloaded
    await subject.pool.reload()
    assert subject.pool.slots == []


# ---- commands that meet


@in_virtual_time
async def test_commands_run_one_after_the_other() -> None:
    subject = Subject()
    await subject.serves(1, 3)
    subject.worker(0).lingers = 5.0
    first = asyncio.create_task(subject.pool.renew(10.0))
    await asyncio.sleep(1)
    second = asyncio.create_task(subject.pool.resize(3))
    await asyncio.sleep(1)
    assert len(subject.launcher.began) == 2, "the resize waits for the worker that is ending"
    await asyncio.gather(first, second)
    assert subject.states == ["ready"] * 3
    await subject.end()


@in_virtual_time
async def test_after_a_stop_nothing_is_added_even_by_a_command_that_waited() -> None:
    subject = Subject()
    await subject.serves(1, 3)
    subject.worker(0).lingers = 5.0
    leaving = asyncio.create_task(subject.pool.unload(lambda: True))
    await asyncio.sleep(1)
    waiting = [asyncio.create_task(command) for command in (subject.pool.resize(3), subject.pool.reload())]
    await asyncio.sleep(1)
    await subject.pool.stop(0.0)
    assert subject.launcher.workers[0].graces == [STOP_WAIT, 0.0], "a stop may hasten what leaves already"
    await asyncio.gather(leaving, *waiting)
    assert subject.pool.slots == []
    with pytest.raises(Draining, match=r"m_1\.0 is being removed; its workers can't be scaled any more"):
        await subject.pool.scale(1, 1)
    await subject.end()


@in_virtual_time
async def test_a_worker_that_is_stopped_while_it_loads_is_interrupted_once_and_those_who_wait_are_told() -> None:
    cleaned: list[str] = []

    async def cleans_up(worker: FakeWorker) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5)
            cleaned.append(worker.name)

    subject = Subject()
    subject.launcher.outcomes = [cleans_up]
    waiting = asyncio.create_task(subject.pool.scale(1, 1))
    await asyncio.sleep(1)
    assert subject.states == ["loading"]
    stops = [asyncio.create_task(subject.pool.stop(5.0))]
    await asyncio.sleep(1)
    stops.append(asyncio.create_task(subject.pool.stop(0.0)))
    await asyncio.gather(*stops)
    with pytest.raises(Draining, match=r"m_1\.0 is being removed, and its workers with it"):
        await waiting
    assert (cleaned, subject.pool.slots) == (["W-9000-m_1.0"], []), "the second stop lets it clean up"
    await subject.end()


@in_virtual_time
async def test_a_worker_that_comes_although_its_start_was_cancelled_is_stopped() -> None:
    async def swallows(_: FakeWorker) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    subject = Subject()
    subject.launcher.outcomes = [swallows]
    waiting = asyncio.create_task(subject.pool.scale(1, 1))
    await asyncio.sleep(1)
    await subject.pool.stop(5.0)
    with pytest.raises(Draining):
        await waiting
    (worker,) = subject.launcher.workers
    assert worker.graces == [0.0]
    await subject.end()


@in_virtual_time
async def test_a_worker_that_waits_for_its_next_try_is_ended_without_one() -> None:
    subject = Subject()
    subject.launcher.always = BROKEN
    with pytest.raises(WorkersFailed):
        await subject.pool.scale(1, 1)
    tries = len(subject.launcher.began)
    await subject.end()
    await asyncio.sleep(MAX_RETRY)
    assert len(subject.launcher.began) == tries


COMMANDS: dict[str, Callable[[Pool], Any]] = {
    "scale": lambda pool: pool.scale(0, 0),
    "resize": lambda pool: pool.resize(1),
    "unload": lambda pool: pool.unload(lambda: True),
    "renew": lambda pool: pool.renew(STOP_WAIT),
    "stop": lambda pool: pool.stop(STOP_WAIT),
}


@pytest.mark.parametrize("name", COMMANDS)
@in_virtual_time
async def test_what_a_command_has_begun_to_end_ends_although_its_client_leaves(name: str) -> None:
    subject = Subject()
    await subject.serves(2)
    subject.pool.minimum = 1
    for worker in subject.launcher.workers:
        worker.lingers = 5.0
    command = asyncio.create_task(COMMANDS[name](subject.pool))
    await asyncio.sleep(1)
    leaving = [slot for slot in subject.pool.slots if slot.state.value == "stopping"]
    assert leaving, "they are shown until they are gone"
    command.cancel()
    with pytest.raises(asyncio.CancelledError):
        await command
    assert set(leaving) <= set(subject.pool.slots)
    await asyncio.sleep(10)
    assert not set(leaving) & set(subject.pool.slots)
    assert all(slot.task is not None and slot.task.done() for slot in leaving)
    await subject.end()
