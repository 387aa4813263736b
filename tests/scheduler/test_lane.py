"""The lane under a loop whose time jumps: nothing here sleeps for real, and a hang is an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from torchserve.scheduler.errors import JobExpired, OutcomeMismatch, QueueFull
from torchserve.scheduler.job import Cause
from torchserve.scheduler.lane import Lane
from torchserve.scheduler.policy import BatchPolicy

from .doubles import Client, Instant, Worker, setup, turn

Run = Callable[[Awaitable[None]], None]


def test_submits_of_one_iteration_share_a_batch(run: Run):
    async def main() -> None:
        lane, worker, client = setup()
        lane.attach(worker)
        for name in "abc":  # three callbacks of one iteration
            asyncio.get_running_loop().call_soon(client.send, name)
        await turn()
        assert (lane.queued, worker.ids) == (3, [])
        await turn()
        assert (lane.queued, lane.running, lane.free, worker.ids) == (0, 3, 0, ["abc"])
        batch = worker.batches[0]
        assert (batch.id, batch.cause, batch.formed, batch.runner) == (1, Cause.FREE_WORKER, 0.0, worker)
        assert [job.payload for job in batch.jobs] == ["A", "B", "C"]

    run(main())


def test_answers_come_in_order_and_once(run: Run):
    async def main() -> None:
        lane, worker, client = setup()
        lane.attach(worker)
        client.send("abc")
        await turn()
        error = RuntimeError("bad input")
        batch = worker.batches[0]
        lane.chunk(batch, [1, 2, 3])
        lane.finish(worker, batch, ["x", error, "z"])
        lane.finish(worker, batch, ["again"] * 3)
        lane.fail(worker, batch, error)
        lane.chunk(batch, [4, 5, 6])
        assert client.heard("a") == [("chunk", 1), ("done", "x")]
        assert client.heard("b") == [("chunk", 2), ("fail", error)]
        assert client.heard("c") == [("chunk", 3), ("done", "z")]
        assert (lane.running, lane.runners, lane.free) == (0, 1, 1)

    run(main())


def test_the_next_batch_is_on_its_way_before_the_answers(run: Run):
    async def main() -> None:
        lane, worker, client = setup(batch_size=1)
        lane.attach(worker)
        client.send("ab")
        await turn()
        seen: list[int] = []
        client.sinks["a"].done = lambda item: seen.append(len(worker.batches))
        lane.finish(worker, worker.batches[0], ["x"])
        assert (worker.ids, seen) == (["a", "b"], [2])

    run(main())


def test_a_runner_may_answer_at_once(run: Run):
    async def main() -> None:
        lane, _, client = setup(batch_size=1)
        worker = Instant(lane)
        client.send("abcdefgh")
        lane.attach(worker)
        await asyncio.wait_for(lane.idle(), 1)
        assert worker.ids == list("abcdefgh")
        assert all(sink.heard == [("done", name.upper())] for name, sink in client.sinks.items())

    run(main())


def test_thousands_of_instant_answers_need_no_stack(run: Run, caplog: pytest.LogCaptureFixture):
    async def main() -> None:
        lane, _, client = setup(batch_size=1, queue_size=5000)
        worker = Instant(lane)
        client.send(map(str, range(5000)))
        lane.attach(worker)
        await turn()
        assert (len(worker.batches), lane.queued, lane.running) == (5000, 0, 0)

    run(main())
    assert caplog.records == []


def test_one_timer_releases_what_waited_its_delay(run: Run):
    async def main() -> None:
        lane, worker, client = setup(rule="fixed")
        loop = asyncio.get_running_loop()
        lane.attach(worker)
        client.send("a")
        await asyncio.sleep(0.75)
        client.send("b")
        await asyncio.sleep(0.2)
        assert worker.batches == []
        await asyncio.sleep(0.1)
        assert worker.ids == ["ab"]
        assert (worker.batches[0].formed, worker.batches[0].cause) == (1.0, Cause.DELAY)
        assert lane.now() == loop.time() == pytest.approx(1.05)

    run(main())


def test_a_timer_moves_forward_for_an_earlier_deadline(run: Run):
    async def main() -> None:
        lane, worker, client = setup(rule="fixed")
        lane.attach(worker)
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
        lane, worker, client = setup(rule="fixed")
        lane.attach(worker)
        client.send("a")
        await asyncio.sleep(0.5)
        client.send("b")
        lane.cancel(client.jobs["a"])
        await asyncio.sleep(0.75)
        assert worker.batches == []
        await asyncio.sleep(0.25)
        assert worker.batches[0].formed == 1.5

    run(main())


def test_a_loop_that_fires_early_is_no_trouble(run: Run):
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lane, worker, client = setup(rule="fixed")
        lane.attach(worker)
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
        lane, worker, client = setup()
        lane.attach(worker)
        lane.announce()
        client.send("a")
        await asyncio.sleep(0.25)
        assert worker.batches == []
        client.send("b")
        lane.retract()
        await turn()
        assert worker.ids == ["ab"]

    run(main())


def test_a_body_that_never_comes_lets_the_batch_go(run: Run):
    async def main() -> None:
        lane, worker, client = setup()
        lane.attach(worker)
        lane.announce()
        client.send("a")
        await asyncio.sleep(0.25)
        lane.retract()
        assert worker.batches == []
        await turn()
        assert worker.ids == ["a"]
        lane.announce()
        lane.retract()  # with an empty queue it changes nothing
        await turn()
        assert worker.ids == ["a"]

    run(main())


def test_full_is_refused_but_not_for_coalescing(run: Run):
    async def main() -> None:
        lane, worker, client = setup(batch_size=2, queue_size=2)
        lane.attach(worker)
        await turn()
        client.send("abcd")  # two make a batch, two wait; all within one iteration
        assert (worker.ids, lane.queued) == (["ab"], 2)
        with pytest.raises(QueueFull):
            client.send("e")
        await turn()
        with pytest.raises(QueueFull):
            client.send("f")
        lane.finish(worker, worker.batches[0], [1, 2])
        client.send("gh")
        assert worker.ids == ["ab", "cd"]

    run(main())


def test_a_job_that_waits_for_nobody_expires(run: Run):
    async def main() -> None:
        lane, _, client = setup()
        client.send("a", expires=2.0)
        client.send("b")
        await asyncio.sleep(1.9)
        assert client.heard("a") == []
        await asyncio.sleep(0.1)
        assert str(client.heard("a")[0][1]) == "expired after 2.000 s in the queue"
        assert (client.heard("b"), lane.queued) == ([], 1)

    run(main())


def test_the_callers_own_error_for_a_late_job(run: Run):
    async def main() -> None:
        lane = Lane(BatchPolicy(), expired=lambda waited: TimeoutError(f"{waited} s are too long"))
        client = Client(lane)
        client.send("a", expires=2.0)
        await asyncio.sleep(2)
        ((verb, error),) = client.heard("a")
        assert (verb, repr(error)) == ("fail", "TimeoutError('2.0 s are too long')")

    run(main())


def test_cancelled_jobs_hear_nothing(run: Run):
    async def main() -> None:
        lane, worker, client = setup()
        client.send("abcd")
        lane.cancel(client.jobs["a"])
        lane.attach(worker)
        await turn()
        assert worker.ids == ["bcd"]
        lane.cancel(client.jobs["b"])
        lane.chunk(worker.batches[0], [1, 2, 3])
        lane.finish(worker, worker.batches[0], [1, 2, 3])
        lane.cancel(client.jobs["c"])
        assert client.heard("a") == client.heard("b") == []
        assert client.heard("c") == [("chunk", 2), ("done", 2)]

    run(main())


def test_a_sink_that_raises_hurts_nobody_else(run: Run, caplog: pytest.LogCaptureFixture):
    async def main() -> None:
        lane, worker, client = setup()
        lane.attach(worker)
        client.send("a", raises="chunk")
        client.send("b", raises="done")
        client.send("c", raises="fail")
        client.send("d")
        await turn()
        lane.chunk(worker.batches[0], [1, 2, 3, 4])
        lane.finish(worker, worker.batches[0], ["a", "b", RuntimeError(), "d"])
        for name in "abc":
            assert len(client.heard(name)) == 2
        assert client.heard("d") == [("chunk", 4), ("done", "d")]
        assert (lane.running, lane.free) == (0, 1)

    with caplog.at_level(logging.ERROR):
        run(main())
    assert [record.getMessage() for record in caplog.records] == [
        f"The sink of job {name} raised" for name in ("a", "b", "c")
    ]
    assert all(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("outcomes", [[], [1], [1, 2, 3]])
def test_a_wrong_number_of_answers_fails_the_batch(run: Run, outcomes: list[int]):
    async def main() -> None:
        lane, worker, client = setup()
        lane.attach(worker)
        client.send("ab")
        await turn()
        with pytest.raises(OutcomeMismatch):
            lane.chunk(worker.batches[0], outcomes)
        lane.finish(worker, worker.batches[0], outcomes)
        for name in "ab":
            (verb, error), *rest = client.heard(name)
            assert (verb, str(error), rest) == ("fail", f"{len(outcomes)} outcomes for a batch of 2 jobs", [])
        assert lane.free == 1

    run(main())


def test_batches_run_side_by_side(run: Run):
    async def main() -> None:
        lane, first, client = setup(batch_size=2)
        second = Worker()
        lane.attach(first)
        lane.attach(second)
        client.send("abcde")
        await turn()
        assert (first.ids, second.ids, lane.queued, lane.running) == (["ab"], ["cd"], 1, 4)
        lane.finish(second, second.batches[0], [3, 4])
        assert (second.ids, lane.running) == (["cd", "e"], 3)
        lane.finish(first, first.batches[0], [1, 2])
        assert [client.heard(name) for name in "abcd"] == [[("done", number)] for number in (1, 2, 3, 4)]

    run(main())


def test_a_sink_may_submit_again(run: Run):
    async def main() -> None:
        lane, worker, client = setup()
        lane.attach(worker)
        client.send("a")
        await turn()
        client.sinks["a"].done = lambda item: client.send("b")
        lane.finish(worker, worker.batches[0], ["x"])
        await turn()
        assert worker.ids == ["a", "b"]

    run(main())


def test_a_sink_may_end_another_batch(run: Run):
    async def main() -> None:
        lane, first, client = setup(batch_size=1)
        second = Worker()
        lane.attach(first)
        lane.attach(second)
        client.send("a")
        client.send("bcd")
        await turn()
        client.sinks["c"].fail = lambda error: lane.finish(second, second.batches[0], ["b"])
        lane.close(RuntimeError())
        assert client.heard("b") == [("done", "b")]
        assert (lane.running, lane.free) == (1, 1)

    run(main())


def test_a_loop_may_be_given():
    loop = asyncio.new_event_loop()
    try:
        lane = Lane(policy := BatchPolicy(), loop)
        assert lane.policy is policy
        assert (lane.queued, lane.running, lane.runners, lane.free) == (0, 0, 0, 0)
    finally:
        loop.close()
    with pytest.raises(RuntimeError, match="no running event loop"):
        Lane(BatchPolicy())
