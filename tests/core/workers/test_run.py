"""Run: the timer of a batch's responseTimeout, which stands still while the front does not read."""

from __future__ import annotations

import asyncio
from typing import cast

from torchserve.core.tracing.request_trace import Told
from torchserve.core.workers.broken_runs import Death, end_runs
from torchserve.core.workers.run import Run
from torchserve.scheduler.job import Batch, ReleaseReason
from torchserve.scheduler.model_scheduler import ModelScheduler

from ..doubles import Nobody, in_virtual_time
from ..tracing.doubles import Desk, tree
from .socket_pair import LOAD

BATCH = Batch(7, (), ReleaseReason.FULL, 0.0, Nobody())


class Overdue:
    def __init__(self) -> None:
        self.at: list[tuple[float, int]] = []

    def __call__(self, batch: Batch) -> None:
        self.at.append((asyncio.get_running_loop().time(), batch.id))


@in_virtual_time
async def test_a_batch_is_overdue_after_its_timeout() -> None:
    run, overdue = Run(BATCH), Overdue()
    run.start(asyncio.get_running_loop(), 5.0, overdue)
    await asyncio.sleep(100)
    assert overdue.at == [(5.0, 7)]


@in_virtual_time
async def test_time_in_which_the_front_does_not_read_does_not_count() -> None:
    loop = asyncio.get_running_loop()
    run, overdue = Run(BATCH), Overdue()
    run.start(loop, 5.0, overdue)
    for _ in range(2):
        await asyncio.sleep(2)
        run.stop(loop.time())
        await asyncio.sleep(50)
        run.go_on(loop, overdue)
    assert run.waited == 100.0
    await asyncio.sleep(100)
    assert overdue.at == [(105.0, 7)], "5 s that counted, and twice 50 s that did not"


@in_virtual_time
async def test_a_batch_that_has_ended_is_never_overdue() -> None:
    run, overdue = Run(BATCH), Overdue()
    run.start(asyncio.get_running_loop(), 5.0, overdue)
    run.cancel()
    await asyncio.sleep(100)
    assert overdue.at == []


@in_virtual_time
async def test_a_batch_that_has_not_begun_has_no_timer_to_stop() -> None:
    loop = asyncio.get_running_loop()
    run, overdue = Run(BATCH), Overdue()
    run.stop(loop.time())
    await asyncio.sleep(50)
    run.go_on(loop, overdue)
    run.cancel()
    await asyncio.sleep(100)
    assert (overdue.at, run.waited, cast("object", run.timer)) == ([], 0.0, None)


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
