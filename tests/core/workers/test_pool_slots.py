"""Pool: the way of one slot from state to state, in virtual time and without a process.

test_lives.py does the same to real processes.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from torchserve.core.errors import WorkersFailed
from torchserve.core.gpus.on_demand_eviction import Postponed
from torchserve.core.workers.load_failed import LoadFailed

from ..doubles import in_virtual_time
from .pool_doubles import MAX_RETRY, Subject

BROKEN = LoadFailed("W could not load the model: no such file")
NO_MEMORY = LoadFailed("W could not load the model: out of memory", out_of_memory=True)


@in_virtual_time
async def test_a_worker_that_loads_serves() -> None:
    subject = Subject()
    assert not subject.pool.may_serve
    await subject.pool.scale(1, 1)
    (slot,) = subject.pool.slots
    assert (slot.name, slot.state.value, subject.pool.ready, subject.pool.may_serve) == (
        "W-9000-m_1.0", "ready", 1, True,
    )  # fmt: skip
    assert slot.worker is not None
    assert subject.pool.in_state("ready") == 1
    assert subject.launcher.events == [("loaded", "W-9000-m_1.0")]
    await subject.end()


@in_virtual_time
async def test_loads_that_fail_are_tried_again_ever_later_until_the_worker_is_given_up() -> None:
    subject = Subject()
    subject.launcher.always = BROKEN
    with pytest.raises(WorkersFailed, match="told: W could not load the model: no such file"):
        await subject.pool.scale(1, 1)
    assert subject.states == ["waiting"]
    assert subject.pool.may_serve, "the next try may succeed"
    (slot,) = subject.pool.slots
    assert slot.task is not None
    await slot.task
    began = subject.launcher.began
    waits = [round(later - earlier, 3) for earlier, later in pairwise(began)]
    assert waits == [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]
    assert began[-1] >= MAX_RETRY > began[-2]
    assert subject.launcher.causes == ["load_failed"] * len(waits)
    assert (subject.states, subject.hopeless, subject.pool.may_serve) == (["given_up"], 1, False)
    assert slot.last_error == str(BROKEN)
    await subject.end()


@pytest.mark.parametrize(
    ("cause", "answered", "delay"),
    [("killed", False, 1.0), ("killed", True, 0.0), ("gpu_lost", False, 0.0), ("unresponsive", True, 0.0)],
)
@in_virtual_time
async def test_a_successor_starts_at_once_unless_the_model_may_be_at_fault(
    cause: str, delay: float, *, answered: bool
) -> None:
    subject = Subject()
    await subject.serves(1)
    subject.worker(0).dies(cause, answered=answered)
    await asyncio.sleep(10)
    assert subject.launcher.began == [0.0, delay]
    assert subject.launcher.causes == [cause]
    assert ("released", "W-9000-m_1.0") in subject.launcher.events
    assert (subject.states, subject.numbers) == (["ready"], [9000]), "the place keeps its number"
    await subject.end()


@in_virtual_time
async def test_back_off_begins_anew_once_a_worker_has_loaded() -> None:
    subject = Subject()
    subject.launcher.outcomes = [BROKEN, BROKEN, BROKEN]
    with pytest.raises(WorkersFailed):
        await subject.pool.scale(1, 1)
    await asyncio.sleep(10)
    assert subject.states == ["ready"]
    assert subject.pool.slots[0].last_error == ""
    died = asyncio.get_running_loop().time()
    subject.worker(0).dies()
    await asyncio.sleep(1.5)
    assert subject.launcher.began[-1] == died + 1
    await subject.end()


@in_virtual_time
async def test_a_start_that_fails_unforeseen_is_a_failed_load_that_says_what_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    subject = Subject()
    subject.launcher.outcomes = [ZeroDivisionError("by zero")]
    with pytest.raises(WorkersFailed, match=r"W-9000-m_1\.0 could not be started: ZeroDivisionError: by zero"):
        await subject.pool.scale(1, 1)
    assert "W-9000-m_1.0 could not be started" in caplog.text
    await subject.end()


@in_virtual_time
async def test_hope_is_lost_with_the_last_worker_only() -> None:
    subject = Subject()
    await subject.serves(1)
    subject.launcher.always = BROKEN
    with pytest.raises(WorkersFailed):
        await subject.pool.scale(2, 2)
    await asyncio.sleep(2 * MAX_RETRY)
    assert (subject.states, subject.hopeless) == (["ready", "given_up"], 0)
    subject.worker(0).dies()
    await asyncio.sleep(2 * MAX_RETRY)
    assert (subject.states, subject.hopeless) == (["given_up"] * 2, 1)
    await subject.end()


@in_virtual_time
async def test_a_start_that_is_postponed_leaves_no_slot_and_is_no_failure() -> None:
    subject = Subject(on_demand=True)
    subject.launcher.outcomes = [Postponed()]
    await subject.pool.scale(1, 1)
    assert subject.pool.slots == []
    assert subject.pool.unloaded
    await subject.end()


@pytest.mark.parametrize(
    ("on_demand", "error", "left"),
    [(True, NO_MEMORY, []), (True, BROKEN, ["given_up"]), (False, NO_MEMORY, ["given_up"])],
)
@in_virtual_time
async def test_an_on_demand_model_that_ran_out_of_memory_may_come_back(
    error: LoadFailed, left: list[str], *, on_demand: bool
) -> None:
    subject = Subject(max_retry=0.0, on_demand=on_demand)
    subject.launcher.always = error
    with pytest.raises(WorkersFailed) as caught:
        await subject.pool.scale(1, 1)
    assert caught.value.out_of_memory is error.out_of_memory
    await asyncio.sleep(1)
    assert (subject.states, subject.hopeless) == (left, 1)
    await subject.end()
