"""ResponseTimer and Run: when a batch's responseTimeout is over, which stands still while the front does not read."""

from __future__ import annotations

import asyncio
from typing import cast

from torchserve.core.tracing.request_trace import Told
from torchserve.core.workers.broken_runs import Death, end_runs
from torchserve.core.workers.response_timer import ResponseTimer
from torchserve.core.workers.run import Run
from torchserve.scheduler.job import Batch, ReleaseReason
from torchserve.scheduler.model_scheduler import ModelScheduler

from ..doubles import Nobody, in_virtual_time
from ..tracing.doubles import Desk, tree
from .socket_pair import LOAD

BATCH = Batch(7, (), ReleaseReason.FULL, 0.0, Nobody())


class Timed:
    """A worker's timer, its batches, and what it has told of: when, and which."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.runs: dict[int, Run] = {}
        self.told: list[tuple[float, int]] = []
        self.timer = ResponseTimer(self.loop, 5.0, self.runs, self._overdue)

    def _overdue(self, batch: Batch) -> None:
        self.told.append((self.loop.time(), batch.id))

    def begin(self, number: int) -> Run:
        run = self.runs[number] = Run(Batch(number, (), ReleaseReason.FULL, 0.0, Nobody()))
        self.timer.begin(run)
        return run


@in_virtual_time
async def test_each_batch_is_overdue_after_its_timeout_and_told_of_once() -> None:
    timed = Timed()
    for number in (1, 2, 3):
        timed.begin(number)
        await asyncio.sleep(1)
    del timed.runs[2]
    await asyncio.sleep(100)
    assert timed.told == [(5.0, 1), (7.0, 3)]


@in_virtual_time
async def test_batches_that_end_in_time_cost_one_timer_for_all() -> None:
    timed = Timed()
    set_for: list[float] = []

    def call_at(when: float, *_: object) -> asyncio.TimerHandle:
        set_for.append(when)
        return cast("asyncio.TimerHandle", object())

    timed.loop.call_at = call_at  # type: ignore[method-assign]
    for number in range(400):
        timed.begin(number)
        del timed.runs[number]
    assert set_for == [5.0]


@in_virtual_time
async def test_time_in_which_the_front_does_not_read_does_not_count() -> None:
    timed = Timed()
    run = timed.begin(7)
    for _ in range(2):
        await asyncio.sleep(2)
        timed.timer.stop()
        timed.timer.stop()  # as for a batch that begins meanwhile
        await asyncio.sleep(50)
        timed.timer.go_on()
    assert run.waited == 100.0
    await asyncio.sleep(100)
    assert timed.told == [(105.0, 7)], "5 s that counted, and twice 50 s that did not"


@in_virtual_time
async def test_what_has_less_time_left_is_told_of_before_what_began_before_it() -> None:
    timed = Timed()
    timed.begin(1)
    await asyncio.sleep(4)
    timed.timer.stop()
    await asyncio.sleep(10)
    timed.begin(2)  # at 14 s: due at 19 s, and 1, which goes on, at 15 s
    timed.timer.go_on()
    await asyncio.sleep(100)
    assert timed.told == [(15.0, 1), (19.0, 2)]


@in_virtual_time
async def test_a_batch_that_has_not_begun_has_no_time_to_stop() -> None:
    timed = Timed()
    run = timed.runs[7] = Run(BATCH)
    timed.timer.stop()
    await asyncio.sleep(50)
    timed.timer.go_on()
    await asyncio.sleep(100)
    assert (timed.told, run.waited, run.due) == ([], 0.0, None)


@in_virtual_time
async def test_a_worker_that_has_ended_tells_of_nothing() -> None:
    timed = Timed()
    timed.begin(7)
    timed.timer.close()
    await asyncio.sleep(100)
    assert timed.told == []


class Requeued:
    """A scheduler that is given batches back."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def requeue(self, batch: Batch) -> None:
        self.batches.append(batch.id)


def test_a_batch_that_a_dead_worker_had_not_begun_is_in_no_trace() -> None:
    desk, scheduler, run = Desk(), Requeued(), Run(BATCH)
    trace = desk.tracer.begin(None)
    assert trace is not None
    assert run.record([(trace, 0.0)], "W", LOAD).startswith(f"00-{trace.trace_id}-")
    death = Death("W", "died", out_of_memory=False)
    end_runs(cast("ModelScheduler", scheduler), LOAD, [run], death, repeats=False)
    trace.end(lambda: Told("request", {}))
    assert (scheduler.batches, tree(desk.spans())) == ([7], ["request 0-0"])
