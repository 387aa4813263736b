"""How runners, and the scheduler itself, come to an end: in virtual time, where a hang is an error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from torchserve.scheduler.errors import QueueClosed
from torchserve.scheduler.job import Batch
from torchserve.scheduler.virtual_time import Deadlock

from .doubles import Worker, setup, turn

Run = Callable[[Awaitable[None]], None]


def test_a_runner_that_dies_fails_its_batch_and_the_queue_stays(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(batch_size=1)
        scheduler.attach(worker)
        client.send("ab")
        await turn()
        error = ConnectionError("died")
        scheduler.fail(worker.batches[0], error)
        await turn()
        assert client.heard("a") == [("fail", error)]
        assert (client.heard("b"), scheduler.queued, scheduler.running, scheduler.runners, scheduler.free) == (
            [],
            1,
            0,
            0,
            0,
        )
        scheduler.attach(worker)
        await turn()
        assert worker.ids == ["a", "b"]

    run(main())


def test_a_runner_that_raises_loses_nothing(run: Run, caplog: pytest.LogCaptureFixture):
    class Broken(Worker):
        def run(self, batch: Batch) -> None:
            raise BrokenPipeError("gone")

    async def main() -> None:
        scheduler, worker, client = setup()
        scheduler.attach(Broken())
        client.send("a")
        await turn()
        assert isinstance(client.heard("a")[0][1], BrokenPipeError)
        assert (scheduler.running, scheduler.runners) == (0, 0)
        client.send("b")
        scheduler.attach(worker)
        await turn()
        assert worker.ids == ["b"]

    run(main())
    assert "raised on batch 1" in caplog.text


def test_a_detached_runner_ends_its_batch_and_takes_no_more(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(batch_size=1)
        scheduler.attach(worker)
        client.send("ab")
        await turn()
        scheduler.detach(worker)
        scheduler.finish(worker.batches[0], ["x"])
        await turn()
        assert client.heard("a") == [("done", "x")]
        assert (worker.ids, scheduler.runners, scheduler.free, scheduler.queued) == (["a"], 0, 0, 1)
        scheduler.attach(worker)
        scheduler.detach(worker)
        await turn()
        assert worker.ids == ["a"]

    run(main())


def test_a_runner_attached_while_it_runs_waits_for_the_end(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(batch_size=1)
        scheduler.attach(worker)
        client.send("ab")
        await turn()
        scheduler.detach(worker)
        scheduler.attach(worker)
        await turn()
        assert (worker.ids, scheduler.runners, scheduler.free) == (["a"], 1, 0)
        scheduler.finish(worker.batches[0], ["x"])
        assert worker.ids == ["a", "b"]

    run(main())


def test_closing_refuses_and_fails_what_waits(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(batch_size=1, rule="fixed")
        scheduler.attach(worker)
        client.send("a")
        client.send("b", expires=5.0)
        await turn()
        error = RuntimeError("removed")
        scheduler.close(error)
        with pytest.raises(QueueClosed):
            client.send("c")
        scheduler.finish(worker.batches[0], ["x"])
        scheduler.close(error)
        await asyncio.sleep(10)
        assert (client.heard("a"), client.heard("b")) == ([("done", "x")], [("fail", error)])

    run(main())


def test_closing_leaves_no_timer_behind(run: Run):
    async def main() -> None:
        scheduler, _, client = setup()
        client.send("a", expires=5.0)
        await turn()
        scheduler.close(RuntimeError())
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match=r"at 0\.0 s"):
        run(main())


def test_flush_fails_what_waits_and_stays_open(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup()
        client.send("ab")
        scheduler.cancel(client.jobs["a"])
        error = RuntimeError("no workers left")
        scheduler.flush(error)
        assert (client.heard("a"), client.heard("b")) == ([], [("fail", error)])
        client.send("c")
        scheduler.attach(worker)
        await turn()
        assert worker.ids == ["c"]

    run(main())


def test_what_runs_is_failed_where_nothing_waits_for_it(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(batch_size=1)
        scheduler.attach(worker)
        client.send("ab")
        await turn()
        error = RuntimeError("the server stops")
        scheduler.close(error)
        scheduler.fail_running(error)
        assert [client.heard(each) for each in "ab"] == [[("fail", error)]] * 2
        assert (scheduler.running, scheduler.runners) == (0, 0)
        scheduler.finish(worker.batches[0], ["too late"])
        assert client.heard("a") == [("fail", error)]

    run(main())


def test_idle_waits_for_the_last_answer(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(batch_size=1)
        await scheduler.idle()
        client.send("ab")
        waiting = [asyncio.create_task(scheduler.idle()) for _ in range(2)]
        await turn()
        scheduler.attach(worker)
        await turn()
        scheduler.finish(worker.batches[0], ["x"])
        await turn()
        assert not any(task.done() for task in waiting)
        scheduler.finish(worker.batches[1], ["y"])
        await asyncio.gather(*waiting)

    run(main())


@pytest.mark.parametrize("end", ["cancel", "expire", "fail", "flush"])
def test_idle_sees_every_other_end(run: Run, end: str):
    async def main() -> None:
        scheduler, worker, client = setup()
        client.send("a", expires=3.0 if end == "expire" else None)
        waiting = asyncio.create_task(scheduler.idle())
        await turn()
        if end == "cancel":
            scheduler.cancel(client.jobs["a"])
        elif end == "flush":
            scheduler.flush(RuntimeError())
        elif end == "fail":
            scheduler.attach(worker)
            await turn()
            scheduler.fail(worker.batches[0], RuntimeError())
        await asyncio.wait_for(waiting, 5)

    run(main())


def test_idle_is_not_fooled_by_a_new_job(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup()
        scheduler.attach(worker)
        client.send("a")
        await turn()
        waiting = asyncio.create_task(scheduler.idle())
        await turn()
        scheduler.finish(worker.batches[0], ["x"])
        client.send("b")  # before the one that waits has run
        await turn()
        await turn()
        assert not waiting.done()
        scheduler.finish(worker.batches[1], ["y"])
        await waiting

    run(main())


def test_drain_refuses_and_serves_what_is_there(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(batch_size=1)
        scheduler.attach(worker)
        client.send("ab")
        await turn()
        draining = asyncio.create_task(scheduler.drain(10.0))
        await turn()
        with pytest.raises(QueueClosed):
            client.send("c")
        scheduler.finish(worker.batches[0], ["x"])
        await turn()
        assert not draining.done()
        scheduler.finish(worker.batches[1], ["y"])
        assert await draining is True
        assert await scheduler.drain(0.0) is True

    run(main())


def test_drain_gives_up_after_its_grace(run: Run):
    async def main() -> None:
        scheduler, _, client = setup()
        client.send("a")
        assert await scheduler.drain(10.0) is False
        assert asyncio.get_running_loop().time() == 10.0
        assert (client.heard("a"), scheduler.queued) == ([], 1)

    run(main())


def test_what_a_broken_runner_ran_is_repeated_once_in_front(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(batch_size=2)
        scheduler.attach(worker)
        client.send("abc")
        await turn()
        assert worker.ids == ["ab"]
        scheduler.cancel(worker.batches[0].jobs[1])
        scheduler.repeat(worker.batches[0], ConnectionError("once"))
        assert (client.heard("a"), scheduler.running, scheduler.runners) == ([], 0, 0)
        scheduler.attach(worker)
        await turn()
        assert worker.ids == ["ab", "ac"], "who has left is not run again"
        error = ConnectionError("twice")
        scheduler.repeat(worker.batches[1], error)
        scheduler.repeat(worker.batches[1], error)  # it has ended
        assert (client.heard("a"), client.heard("b"), client.heard("c")) == ([("fail", error)], [], [])
        scheduler.attach(worker)
        await turn()
        assert worker.ids == ["ab", "ac", "c"]

    run(main())
