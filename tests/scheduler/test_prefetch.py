"""Batches that are handed over before their worker is free: when they begin, and what becomes of them if it dies."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from torchserve.scheduler import batcher as batchers
from torchserve.scheduler.errors import QueueClosed, WouldBeLate
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import BatchPolicy

from .doubles import Client, Nobody, Worker, job, setup, turn

Run = Callable[[Awaitable[None]], None]


async def two_batches() -> tuple[ModelScheduler, Worker, Client]:
    """A worker that runs `b` and has `c` behind it; a batch takes 10 ms."""
    scheduler, worker, client = setup(batch_size=1)
    scheduler.attach(worker)
    client.send("a")
    await asyncio.sleep(0.01)
    scheduler.finish(worker.batches[0], [0])
    client.send("bc")
    await turn()
    assert (worker.ids, scheduler.queued, scheduler.running, scheduler.free) == (["a", "b", "c"], 0, 2, 0)
    return scheduler, worker, client


def test_it_begins_when_the_one_before_has_ended(run: Run):
    async def main() -> None:
        scheduler, worker, client = await two_batches()
        assert (client.jobs["b"].started, client.jobs["c"].started, worker.begins) == (0.01, None, [])
        await asyncio.sleep(0.01)
        scheduler.finish(worker.batches[1], [1])
        assert client.jobs["c"].started == 0.02
        assert worker.begins == worker.batches[2:]
        scheduler.finish(worker.batches[2], [2])
        assert [client.heard(name) for name in "abc"] == [[("done", number)] for number in range(3)]
        assert (scheduler.running, scheduler.free) == (0, 1)

    run(main())


def test_a_runner_of_a_single_batch_gets_none_behind_it(run: Run):
    """An asynchronous worker attaches a runner for each request: several are released in one turn."""

    async def main() -> None:
        scheduler, worker, client = setup(batch_size=1)
        scheduler.attach(worker, once=True)
        client.send("a")
        await asyncio.sleep(0.01)
        scheduler.finish(worker.batches[0], [0])
        assert scheduler.free == 0
        scheduler.attach(other := Worker(), once=True)
        client.send("bc")
        await turn()
        assert (worker.ids, other.ids, scheduler.queued) == (["a"], ["b"], 1)
        scheduler.attach(third := Worker(), once=True)
        scheduler.attach(gone := Worker(), once=True)
        scheduler.detach(gone)
        await turn()
        scheduler.finish(other.batches[0], [1])
        scheduler.finish(third.batches[0], [2])
        assert (third.ids, gone.ids, scheduler.free) == (["c"], [], 0)
        assert [client.heard(name) for name in "abc"] == [[("done", number)] for number in range(3)]

    run(main())


def test_its_jobs_wait_again_if_the_worker_dies_before(run: Run):
    async def main() -> None:
        scheduler, worker, client = await two_batches()
        client.send("d")
        scheduler.requeue(worker.batches[2])
        scheduler.fail(worker.batches[1], error := RuntimeError("it died"))
        assert (scheduler.queued, scheduler.running, scheduler.runners) == (2, 0, 0)
        assert (client.heard("b"), client.heard("c")) == ([("fail", error)], [])
        scheduler.requeue(worker.batches[2])  # it has ended already: nothing happens
        scheduler.attach(other := Worker())
        await turn()
        assert other.ids == ["c", "d"], "in their old order; the second of them ahead"

    run(main())


def test_another_worker_has_them_at_once(run: Run):
    async def main() -> None:
        scheduler, worker, _ = await two_batches()
        scheduler.attach(other := Worker())
        await turn()
        scheduler.requeue(worker.batches[2])
        await turn()
        assert other.ids == ["c"]

    run(main())


def test_in_a_lane_that_has_been_closed_they_end_with_its_error(run: Run):
    async def main() -> None:
        scheduler, worker, client = await two_batches()
        scheduler.close(over := RuntimeError("removed"))
        assert client.heard("c") == []
        scheduler.requeue(worker.batches[2])
        scheduler.fail(worker.batches[1], RuntimeError())
        assert client.heard("c") == [("fail", over)]
        assert await scheduler.drain(1.0)
        with pytest.raises(QueueClosed):
            client.send("x")

    run(main())


def test_a_cancelled_one_is_not_put_back(run: Run):
    async def main() -> None:
        scheduler, worker, client = await two_batches()
        scheduler.cancel(client.jobs["c"])
        scheduler.requeue(worker.batches[2])
        assert (scheduler.queued, client.heard("c")) == (0, [])

    run(main())


def test_a_drain_waits_for_both(run: Run):
    async def main() -> None:
        scheduler, worker, _client = await two_batches()
        draining = asyncio.ensure_future(scheduler.drain(5.0))
        await asyncio.sleep(0.01)
        scheduler.finish(worker.batches[1], [1])
        await turn()
        assert not draining.done()
        scheduler.finish(worker.batches[2], [2])
        assert await draining

    run(main())


def test_one_that_would_be_late_is_refused_at_once_and_one_that_became_late_with_its_turn(run: Run):
    async def main() -> None:
        scheduler, worker, client = await two_batches()
        with pytest.raises(WouldBeLate) as caught:
            client.send("d", deadline=scheduler.now() + 0.02)
        assert (caught.value.needed, caught.value.left) == (pytest.approx(0.03), pytest.approx(0.02))
        client.send("e", deadline=scheduler.now() + 0.035)
        await asyncio.sleep(0.03)  # three times as long as ever
        scheduler.finish(worker.batches[1], [1])
        scheduler.finish(worker.batches[2], [2])
        ((verb, error),) = client.heard("e")
        assert (verb, type(error)) == ("fail", WouldBeLate)

    run(main())


@pytest.mark.parametrize("left", [None, 1000.0])
def test_sizes_are_tried_ahead_too(left: float | None):
    """A worker that is never idle gets each batch ahead: what was measured beside a busy neighbour is measured again. Not
    where jobs have deadlines: a try may cost them.
    """
    batcher, worker = batchers.Batcher(BatchPolicy(batch_size=32, max_batch_delay=0.005, queue_size=100)), Nobody("r")
    latency = batcher._runners.latency(worker)
    for size in (1, 2, 4, 8, 16, 32):
        for _ in range(15):
            latency.record(size, 1.5 * (0.001 + 0.0004 * size))
    for _ in range(15):
        latency.record(11, 0.001 + 0.0004 * 11)
    batcher.ready(worker, 0.0)
    now, waiting, sizes, names = 0.0, [], [], itertools.count()
    while now < 20.0:
        while batcher.queued < 64:
            batcher.offer(job(str(next(names)), now, deadline=left and now + left), now)
        waiting += [effect.batch for effect in batcher.collect(now) if isinstance(effect, batchers.Run)]
        batch = waiting.pop(0)
        sizes.append(len(batch.jobs))
        now += 0.001 + 0.0004 * len(batch.jobs)
        batcher.ended(batch, now, worked=True)
    assert sizes[3] == 11
    found = sum(size == 32 for size in sizes[-100:])
    assert found > 90 if left is None else found == 0
