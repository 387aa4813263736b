"""When a scheduler releases its batches, under a loop whose time jumps: nothing sleeps for real, a hang is an error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from torchserve.scheduler.errors import JobExpired, QueueFull
from torchserve.scheduler.job import Batch, ReleaseReason
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import BatchPolicy

from .doubles import Client, Worker, setup, turn

Run = Callable[[Awaitable[None]], None]


def test_submits_of_one_iteration_share_a_batch(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup()
        scheduler.attach(worker)
        for name in "abc":  # three callbacks of one iteration
            asyncio.get_running_loop().call_soon(client.send, name)
        await turn()
        assert (scheduler.queued, worker.ids) == (3, [])
        await turn()
        assert (scheduler.queued, scheduler.running, scheduler.free, worker.ids) == (0, 3, 0, ["abc"])
        batch = worker.batches[0]
        assert (batch.id, batch.reason, batch.formed, batch.runner) == (1, ReleaseReason.FREE_WORKER, 0.0, worker)
        assert [job.payload for job in batch.jobs] == ["A", "B", "C"]

    run(main())


def test_one_timer_releases_what_waited_its_delay(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(rule="fixed")
        loop = asyncio.get_running_loop()
        scheduler.attach(worker)
        client.send("a")
        await asyncio.sleep(0.75)
        client.send("b")
        await asyncio.sleep(0.2)
        assert worker.batches == []
        await asyncio.sleep(0.1)
        assert worker.ids == ["ab"]
        assert (worker.batches[0].formed, worker.batches[0].reason) == (1.0, ReleaseReason.DELAY)
        assert scheduler.now() == loop.time() == pytest.approx(1.05)

    run(main())


def test_a_timer_moves_forward_for_an_earlier_deadline(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(rule="fixed")
        scheduler.attach(worker)
        client.send("a")
        await turn()
        client.send("b", expires=0.5)
        await asyncio.sleep(0.5)
        assert [verb for verb, _ in client.heard("b")] == ["fail"]
        error = client.heard("b")[0][1]
        assert isinstance(error, JobExpired)
        assert error.waited == 0.5
        await asyncio.sleep(0.5)
        assert worker.ids == ["a"]

    run(main())


def test_a_timer_that_is_too_early_sets_the_next(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(rule="fixed")
        scheduler.attach(worker)
        client.send("a")
        await asyncio.sleep(0.5)
        client.send("b")
        scheduler.cancel(client.jobs["a"])
        await asyncio.sleep(0.75)
        assert worker.batches == []
        await asyncio.sleep(0.25)
        assert worker.batches[0].formed == 1.5

    run(main())


def test_a_loop_that_fires_early_is_no_trouble(run: Run):
    async def main() -> None:
        loop = asyncio.get_running_loop()
        scheduler, worker, client = setup(rule="fixed")
        scheduler.attach(worker)
        client.send("a")
        call_at = loop.call_at
        loop.call_at = lambda when, *rest, **more: call_at(when - 0.125, *rest, **more)  # type: ignore[method-assign]
        await turn()
        loop.call_at = call_at  # type: ignore[method-assign]
        await asyncio.sleep(0.9)
        assert worker.ids == ["a"]

    run(main())


def test_a_body_on_its_way_holds_the_batch(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup()
        scheduler.attach(worker)
        scheduler.body_started()
        client.send("a")
        await asyncio.sleep(0.25)
        assert worker.batches == []
        client.send("b")
        scheduler.body_finished()
        await turn()
        assert worker.ids == ["ab"]

    run(main())


def test_a_body_that_never_comes_lets_the_batch_go(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup()
        scheduler.attach(worker)
        scheduler.body_started()
        client.send("a")
        await asyncio.sleep(0.25)
        scheduler.body_finished()
        assert worker.batches == []
        await turn()
        assert worker.ids == ["a"]
        scheduler.body_started()
        scheduler.body_finished()  # with an empty queue it changes nothing
        await turn()
        assert worker.ids == ["a"]

    run(main())


def test_full_is_refused_but_not_for_coalescing(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(batch_size=2, queue_size=2)
        scheduler.attach(worker)
        await turn()
        client.send("abcd")  # two make a batch, two wait; all within one iteration
        assert (worker.ids, scheduler.queued) == (["ab"], 2)
        with pytest.raises(QueueFull):
            client.send("e")
        await turn()
        with pytest.raises(QueueFull):
            client.send("f")
        scheduler.finish(worker.batches[0], [1, 2])
        client.send("gh")
        assert worker.ids == ["ab", "cd"]

    run(main())


def test_a_job_that_waits_for_nobody_expires(run: Run):
    async def main() -> None:
        scheduler, _, client = setup()
        client.send("a", expires=2.0)
        client.send("b")
        await asyncio.sleep(1.9)
        assert client.heard("a") == []
        await asyncio.sleep(0.1)
        assert str(client.heard("a")[0][1]) == "expired after 2.000 s in the queue"
        assert (client.heard("b"), scheduler.queued) == ([], 1)

    run(main())


def test_the_callers_own_error_for_a_late_job(run: Run):
    async def main() -> None:
        scheduler = ModelScheduler(BatchPolicy(), refused=lambda error: TimeoutError(f"{error}, too long"))
        client = Client(scheduler)
        client.send("a", expires=2.0)
        await asyncio.sleep(2)
        ((verb, error),) = client.heard("a")
        assert (verb, repr(error)) == ("fail", "TimeoutError('expired after 2.000 s in the queue, too long')")

    run(main())


def test_what_was_learnt_is_told_by_kind_of_device_and_nothing_of_sequences(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup()
        assert scheduler.latencies == {}
        scheduler.attach(worker)
        client.send("a")
        await turn()
        await turn()
        scheduler.finish(worker.batches[0], ["A"], seconds=0.5)
        assert [each.median for each in scheduler.latencies[worker.device].measured()] == [0.5]
        scheduler.relearn(worker)
        assert scheduler.latencies == {}
        sequences = ModelScheduler(BatchPolicy(4, continuous=True))
        sequences.relearn(worker)
        assert sequences.latencies == {}

    run(main())


def test_batches_run_side_by_side(run: Run):
    async def main() -> None:
        scheduler, first, client = setup(batch_size=2)
        second = Worker()
        scheduler.attach(first)
        scheduler.attach(second)
        client.send("abcde")
        await turn()
        assert (first.ids, second.ids, scheduler.queued, scheduler.running) == (["ab"], ["cd"], 1, 4)
        scheduler.finish(second.batches[0], [3, 4])
        assert (second.ids, scheduler.running) == (["cd", "e"], 3)
        scheduler.finish(first.batches[0], [1, 2])
        assert [client.heard(name) for name in "abcd"] == [[("done", number)] for number in (1, 2, 3, 4)]

    run(main())


def test_a_loop_may_be_given():
    loop = asyncio.new_event_loop()
    try:
        scheduler = ModelScheduler(policy := BatchPolicy(), loop)
        assert scheduler.policy is policy
        assert (scheduler.queued, scheduler.running, scheduler.runners, scheduler.free) == (0, 0, 0, 0)
    finally:
        loop.close()
    with pytest.raises(RuntimeError, match="no running event loop"):
        ModelScheduler(BatchPolicy())


def test_on_a_clock_finer_than_the_loops_timers_short_waits_are_turns(run: Run):
    async def main() -> None:
        now = 0.0
        scheduler = ModelScheduler(BatchPolicy(4, 1.0, 100, "fixed"), clock=lambda: now)
        client, worker = Client(scheduler), Worker()
        scheduler.attach(worker)
        client.send("a")
        now = 0.9995
        for _ in range(5):
            await turn()
        assert worker.batches == []
        now = 1.0
        await turn()
        assert worker.ids == ["a"]
        client.send("b")
        now = 1.9995
        client.send("c")  # which looks with the next turn anyway
        scheduler.finish(worker.batches[0], [1])
        now = 2.0
        await turn()
        assert worker.ids == ["a", "bc"]

    run(main())


def test_a_running_batch_is_interrupted_once_nobody_waits_for_it(run: Run):
    class Breakable(Worker):
        def __init__(self) -> None:
            super().__init__()
            self.interrupted: list[Batch] = []

        def interrupt(self, batch: Batch) -> None:
            self.interrupted.append(batch)

    async def main() -> None:
        scheduler, plain, client = setup()
        breakable = Breakable()
        scheduler.attach(breakable)
        client.send("a")
        client.send("b")
        await asyncio.sleep(0)
        await turn()
        (batch,) = breakable.batches
        scheduler.cancel(client.jobs["a"])
        assert breakable.interrupted == []
        scheduler.cancel(client.jobs["b"])
        assert breakable.interrupted == [batch]
        scheduler.finish(batch, ["A", "B"])
        scheduler.cancel(client.jobs["b"])  # it has ended
        assert breakable.interrupted == [batch]
        scheduler.detach(breakable)
        scheduler.attach(plain)
        client.send("c")
        await turn()
        await turn()
        scheduler.cancel(client.jobs["c"])  # a runner that can't end early
        assert plain.ids == ["c"]
        assert client.heard("c") == []

    run(main())
