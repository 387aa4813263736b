"""What the sinks of a scheduler hear: each its answer once, in order, whatever other sinks do."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Awaitable, Callable

import pytest

from torchserve.scheduler.errors import OutcomeMismatch
from torchserve.scheduler.job import Job

from .doubles import Instant, Sink, Worker, setup, turn

Run = Callable[[Awaitable[None]], None]


def test_answers_come_in_order_and_once(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup()
        scheduler.attach(worker)
        client.send("abc")
        await turn()
        error = RuntimeError("bad input")
        batch = worker.batches[0]
        scheduler.chunk(batch, [1, 2, 3])
        scheduler.finish(batch, ["x", error, "z"])
        scheduler.finish(batch, ["again"] * 3)
        scheduler.fail(batch, error)
        scheduler.chunk(batch, [4, 5, 6])
        assert client.heard("a") == [("chunk", 1), ("done", "x")]
        assert client.heard("b") == [("chunk", 2), ("fail", error)]
        assert client.heard("c") == [("chunk", 3), ("done", "z")]
        assert (scheduler.running, scheduler.runners, scheduler.free) == (0, 1, 1)

    run(main())


class Body:
    """A payload that is missed when it goes."""


@pytest.mark.parametrize("fails", [False, True])
def test_an_ended_batch_goes_without_the_garbage_collector(run: Run, fails: bool):
    async def main() -> None:
        scheduler, worker, _ = setup(batch_size=2)
        scheduler.attach(worker)
        bodies = [Body(), Body()]
        gone = [weakref.ref(body) for body in bodies]
        for body in bodies:
            scheduler.submit(Job("x", body, Sink()))
        await turn()
        del body, bodies
        assert None not in [each() for each in gone]
        if fails:
            scheduler.fail(worker.batches.pop(), RuntimeError("died"))
        else:
            scheduler.finish(worker.batches.pop(), ["a", "b"])
        assert [each() for each in gone] == [None, None]

    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


def test_the_next_batch_is_on_its_way_before_the_answers(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(batch_size=1)
        scheduler.attach(worker)
        client.send("ab")
        await turn()
        seen: list[int] = []
        client.sinks["a"].done = lambda item: seen.append(len(worker.batches))
        scheduler.finish(worker.batches[0], ["x"])
        assert (worker.ids, seen) == (["a", "b"], [2])

    run(main())


def test_a_runner_may_answer_at_once(run: Run):
    async def main() -> None:
        scheduler, _, client = setup(batch_size=1)
        worker = Instant(scheduler)
        client.send("abcdefgh")
        scheduler.attach(worker)
        await asyncio.wait_for(scheduler.idle(), 1)
        assert worker.ids == list("abcdefgh")
        assert all(sink.heard == [("done", name.upper())] for name, sink in client.sinks.items())

    run(main())


def test_thousands_of_instant_answers_need_no_stack(run: Run, caplog: pytest.LogCaptureFixture):
    async def main() -> None:
        scheduler, _, client = setup(batch_size=1, queue_size=5000)
        worker = Instant(scheduler)
        client.send(map(str, range(5000)))
        scheduler.attach(worker)
        await turn()
        assert (len(worker.batches), scheduler.queued, scheduler.running) == (5000, 0, 0)

    run(main())
    assert caplog.records == []


def test_cancelled_jobs_hear_nothing(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup()
        client.send("abcd")
        scheduler.cancel(client.jobs["a"])
        scheduler.attach(worker)
        await turn()
        assert worker.ids == ["bcd"]
        scheduler.cancel(client.jobs["b"])
        scheduler.chunk(worker.batches[0], [1, 2, 3])
        scheduler.finish(worker.batches[0], [1, 2, 3])
        scheduler.cancel(client.jobs["c"])
        assert client.heard("a") == client.heard("b") == []
        assert client.heard("c") == [("chunk", 2), ("done", 2)]

    run(main())


def test_a_sink_that_raises_hurts_nobody_else(run: Run, caplog: pytest.LogCaptureFixture):
    async def main() -> None:
        scheduler, worker, client = setup()
        scheduler.attach(worker)
        client.send("a", raises="chunk")
        client.send("b", raises="done")
        client.send("c", raises="fail")
        client.send("d")
        await turn()
        scheduler.chunk(worker.batches[0], [1, 2, 3, 4])
        scheduler.finish(worker.batches[0], ["a", "b", RuntimeError(), "d"])
        for name in "abc":
            assert len(client.heard(name)) == 2
        assert client.heard("d") == [("chunk", 4), ("done", "d")]
        assert (scheduler.running, scheduler.free) == (0, 1)

    with caplog.at_level(logging.ERROR):
        run(main())
    assert [record.getMessage() for record in caplog.records] == [
        f"The sink of job {name} raised" for name in ("a", "b", "c")
    ]
    assert all(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("outcomes", [[], [1], [1, 2, 3]])
def test_a_wrong_number_of_answers_fails_the_batch(run: Run, outcomes: list[int]):
    async def main() -> None:
        scheduler, worker, client = setup()
        scheduler.attach(worker)
        client.send("ab")
        await turn()
        with pytest.raises(OutcomeMismatch):
            scheduler.chunk(worker.batches[0], outcomes)
        scheduler.finish(worker.batches[0], outcomes)
        for name in "ab":
            (verb, error), *rest = client.heard(name)
            assert (verb, str(error), rest) == ("fail", f"{len(outcomes)} outcomes for a batch of 2 jobs", [])
        assert scheduler.free == 1

    run(main())


def test_a_sink_may_submit_again(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup()
        scheduler.attach(worker)
        client.send("a")
        await turn()
        client.sinks["a"].done = lambda item: client.send("b")
        scheduler.finish(worker.batches[0], ["x"])
        await turn()
        assert worker.ids == ["a", "b"]

    run(main())


def test_a_sink_may_end_another_batch(run: Run):
    async def main() -> None:
        scheduler, first, client = setup(batch_size=1)
        second = Worker()
        scheduler.attach(first)
        scheduler.attach(second)
        client.send("a")
        client.send("bcd")
        await turn()
        client.sinks["c"].fail = lambda error: scheduler.finish(second.batches[0], ["b"])
        scheduler.close(RuntimeError())
        assert client.heard("b") == [("done", "b")]
        assert (scheduler.running, scheduler.free) == (1, 1)

    run(main())


def test_what_a_batch_took_may_be_told(run: Run):
    async def main() -> None:
        scheduler, worker, client = setup(batch_size=4)
        scheduler.attach(worker)
        client.send("a")
        await asyncio.sleep(5.0)
        scheduler.finish(worker.batches[0], [1], seconds=0.25)
        client.send("b")
        await turn()
        client.send("c", deadline=scheduler.now() + 1.0)  # and not refused, as it would be if 5 s were believed
        await asyncio.sleep(0.25)
        scheduler.finish(worker.batches[1], [2])
        assert worker.ids == ["a", "b", "c"]

    run(main())


@pytest.mark.parametrize(
    ("outcomes", "typical", "recorded"),
    [
        ([1, 2], True, True),
        ([1, 2], False, False),
        ([ValueError(), 2], True, True),
        ([1, ValueError()], True, True),
        ([ValueError(), ValueError()], True, False),
        ([ValueError(), 2], False, False),
    ],
)
def test_which_batches_tell_what_their_size_takes(
    run: Run, outcomes: list[object], typical: bool, recorded: bool
) -> None:
    async def main() -> None:
        scheduler, worker, client = setup(batch_size=2)
        scheduler.attach(worker)
        client.send("ab")
        await turn()
        scheduler.finish(worker.batches[0], outcomes, seconds=5.0, typical=typical)
        median = scheduler._batcher._runners.latency(worker).median(2)  # type: ignore[union-attr]
        assert median == (5.0 if recorded else 0.0)

    run(main())
