"""Scaler: what it tells the autoscaler once a second, and what it has the pool do; an hour of it takes a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from torchserve.core.errors import WorkersFailed
from torchserve.core.models.scaler import INTERVAL, Scaler
from torchserve.scheduler.autoscale import RETRY

from ..doubles import in_virtual_time

DOWN_AFTER = 60.0
SETTLED = 20.0  # s until what has arrived for long enough, or waited, has had its effect


class Pool:
    """A pool whose workers serve at once; where `takes` is set, a resize never ends."""

    def __init__(self, workers: int, minimum: int, maximum: int) -> None:
        self.slots: list[object] = [object()] * workers
        self.minimum, self.maximum, self.unloaded = minimum, maximum, False
        self.loading = self.given_up = 0
        self.resized: list[tuple[float, int]] = []
        self.abandoned = 0
        self.takes = False
        self.fails = False

    @property
    def workers(self) -> list[object]:
        return self.slots

    @property
    def ready(self) -> int:
        return len(self.slots) - self.loading - self.given_up

    def in_state(self, state: str) -> int:
        assert state == "given_up"
        return self.given_up

    async def resize(self, count: int) -> None:
        self.resized.append((now(), count))
        if self.fails:
            raise WorkersFailed("no room on any GPU")
        if self.takes:
            try:
                await asyncio.Event().wait()
            finally:
                self.abandoned += 1
        self.slots = [object()] * count

    @property
    def counts(self) -> list[int]:
        return [count for _, count in self.resized]


class Scheduler:
    """A model's load: `queued` requests wait, `free` workers do, and a request takes a worker a second."""

    def __init__(self) -> None:
        self.queued, self.free, self.seconds_per_job = 0, 1, 1.0

    def now(self) -> float:
        return now()


def now() -> float:
    return asyncio.get_running_loop().time()


class Subject:
    """A scaler between a pool and a scheduler that the test sets."""

    def __init__(self, workers: int = 1, minimum: int = 1, maximum: int = 4) -> None:
        self.pool, self.scheduler = Pool(workers, minimum, maximum), Scheduler()
        self.scaler = Scaler("m", cast("Any", self.scheduler), cast("Any", self.pool), DOWN_AFTER)

    def crowd(self) -> None:
        """Requests wait for a worker, as many as three workers would need to work off in time."""
        self.scheduler.queued, self.scheduler.free = 20, 0

    async def passes(self, seconds: float, each_second: Callable[[], object] = lambda: None) -> None:
        for _ in range(int(seconds)):
            each_second()
            await asyncio.sleep(INTERVAL)

    @property
    def follows(self) -> bool:
        return any(task.get_name() == "scale m" for task in asyncio.all_tasks())


@in_virtual_time
async def test_with_one_number_of_workers_allowed_nothing_is_decided() -> None:
    subject = Subject(minimum=2, maximum=2)
    subject.crowd()
    subject.scaler.follow()
    assert not subject.follows
    await subject.passes(SETTLED)
    assert subject.pool.resized == []


@in_virtual_time
async def test_it_follows_while_the_bounds_leave_a_choice_and_again_once_they_do() -> None:
    subject = Subject()
    for _ in range(3):
        subject.scaler.follow()
    assert sum(task.get_name() == "scale m" for task in asyncio.all_tasks()) == 1, "one task, however often called"
    await subject.passes(5)
    assert subject.follows
    subject.pool.maximum = 1
    await subject.passes(2)
    assert not subject.follows
    subject.pool.maximum = 4
    subject.crowd()
    subject.scaler.follow()
    await subject.passes(SETTLED)
    assert subject.pool.counts == [3]
    subject.scaler.stop()


@in_virtual_time
async def test_a_crowd_gets_workers_and_they_go_when_it_is_quiet() -> None:
    subject = Subject()
    subject.crowd()
    subject.scaler.follow()
    await subject.passes(SETTLED)
    assert subject.pool.counts == [3]
    subject.scheduler.queued, subject.scheduler.free = 0, 3
    quiet = now()
    await subject.passes(DOWN_AFTER - 1)
    assert subject.pool.counts == [3]
    await subject.passes(3 * DOWN_AFTER)
    assert subject.pool.counts == [3, 2, 1]
    assert all(at - quiet >= DOWN_AFTER for at, _ in subject.pool.resized[1:])
    subject.scaler.stop()


@pytest.mark.parametrize("arrivals", [0, 2])
@in_virtual_time
async def test_what_arrives_counts_beside_what_waits(arrivals: int) -> None:
    subject = Subject()
    subject.scheduler.queued, subject.scheduler.free = 1, 0
    subject.scaler.follow()

    def arrive() -> None:
        subject.scaler.arrived += arrivals

    await subject.passes(SETTLED, arrive)
    subject.scaler.stop()
    assert bool(subject.pool.resized) is bool(arrivals)


@pytest.mark.parametrize("refused", [0, 30])
@in_virtual_time
async def test_requests_that_were_turned_away_for_want_of_a_worker_count_as_waiting(refused: int) -> None:
    subject = Subject()
    subject.scaler.follow()

    def turn_away() -> None:
        subject.scaler.turned_away += refused

    await subject.passes(SETTLED, turn_away)
    assert bool(subject.pool.resized) is bool(refused)
    subject.pool.resized.clear()
    subject.pool.slots = [object()]
    await subject.passes(SETTLED)
    assert subject.pool.resized == [], "they count once"
    subject.scaler.stop()


@pytest.mark.parametrize(("state", "added"), [("loading", False), ("given_up", True)])
@in_virtual_time
async def test_none_is_added_while_one_loads_and_one_that_is_given_up_does_not_load(state: str, *, added: bool) -> None:
    subject = Subject(workers=2)
    setattr(subject.pool, state, 1)
    subject.crowd()
    subject.scaler.follow()
    await subject.passes(SETTLED)
    assert bool(subject.pool.resized) is added
    subject.scaler.stop()


@in_virtual_time
async def test_an_unloaded_model_is_left_to_its_next_request() -> None:
    subject = Subject(workers=1, minimum=0)
    subject.pool.unloaded = True
    subject.crowd()
    subject.scaler.follow()
    await subject.passes(SETTLED)
    assert subject.pool.resized == []
    subject.pool.unloaded = False
    await subject.passes(SETTLED)
    assert subject.pool.counts == [3]
    subject.scaler.stop()


@in_virtual_time
async def test_workers_below_the_minimum_are_the_pool_s_to_restore() -> None:
    subject = Subject(workers=1, minimum=2)
    subject.scaler.follow()
    await subject.passes(SETTLED)
    assert subject.pool.resized == []
    subject.scaler.stop()


@in_virtual_time
async def test_after_workers_that_could_not_be_added_it_waits_before_it_tries_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    subject = Subject()
    subject.pool.fails = True
    subject.crowd()
    subject.scaler.follow()
    await subject.passes(RETRY - 1)
    assert len(subject.pool.resized) == 1
    assert "m stays with the workers it has: no room on any GPU" in caplog.text
    await subject.passes(2 * RETRY)
    first, second, *_ = (at for at, _ in subject.pool.resized)
    assert second - first >= RETRY
    subject.scaler.stop()


@in_virtual_time
async def test_a_decision_that_fails_is_logged_and_the_next_one_is_made(caplog: pytest.LogCaptureFixture) -> None:
    subject = Subject()
    subject.crowd()
    subject.scheduler.seconds_per_job = cast("float", None)
    subject.scaler.follow()
    await subject.passes(3)
    assert "m: its number of workers could not be decided" in caplog.text
    assert subject.pool.resized == []
    subject.scheduler.seconds_per_job = 1.0
    await subject.passes(SETTLED)
    assert subject.pool.counts == [3]
    subject.scaler.stop()


@in_virtual_time
async def test_a_change_is_not_waited_for_and_a_stop_abandons_it() -> None:
    subject = Subject()
    subject.pool.takes = True
    subject.crowd()
    subject.scaler.follow()
    await subject.passes(SETTLED)
    assert len(subject.pool.resized) > 1, "decided anew while the first change is under way"
    assert subject.pool.abandoned == 0
    subject.scaler.stop()
    begun = len(subject.pool.resized)
    await subject.passes(SETTLED)
    assert (len(subject.pool.resized), subject.pool.abandoned) == (begun, begun)
    assert not subject.follows
