"""Generation by the real scheduler under virtual time: engines that step, clients that share them, and what is late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from torchserve.scheduler.errors import AnswerLate, FirstTokenLate, QueueFull, SchedulerError, Stalled
from torchserve.scheduler.job import Batch, Job
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import BatchPolicy
from torchserve.scheduler.tokens import EngineBounds, TokenDemand, TokenPolicy

from .doubles import Sink, setup, turn

Run = Callable[[Coroutine[Any, Any, None]], None]


class SteppingEngine:
    """A runner that gives each of its jobs a token every `step` s until it is told to hang, and reports each."""

    name = "engine"
    device = "cpu"

    def __init__(self, scheduler: ModelScheduler, memory: int, step: float = 0.01) -> None:
        self.bounds = EngineBounds(memory, memory)
        self.served: list[Job] = []
        self.interrupted: list[Job] = []
        self.hangs = asyncio.Event()
        self.most = 0  # tokens in memory at a time
        self._memory: dict[int, int] = {}
        self._scheduler = scheduler
        self._step = step
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def run(self, batch: Batch) -> None:
        self._tasks[batch.id] = asyncio.ensure_future(self._generate(batch))

    async def _generate(self, batch: Batch) -> None:
        (job,) = batch.jobs
        assert job.tokens is not None
        prompt, wanted = job.tokens.prompt or 1, job.tokens.completion or 1
        self.served.append(job)
        try:
            for generated in range(1, wanted + 1):
                await asyncio.sleep(self._step)
                if self.hangs.is_set():
                    await asyncio.get_running_loop().create_future()
                self._memory[batch.id] = prompt + generated
                self.most = max(self.most, sum(self._memory.values()))
                self._scheduler.progress(job, prompt, generated)
                self._scheduler.chunk(batch, [generated])
            outcome: object = "whole"
        except asyncio.CancelledError:
            outcome = SchedulerError("interrupted")
        self._memory.pop(batch.id, None)
        del self._tasks[batch.id]
        self._scheduler.finish(batch, [outcome])

    def interrupt(self, batch: Batch) -> None:
        self.interrupted += batch.jobs
        self._tasks[batch.id].cancel()

    def batch_started(self, batch: Batch) -> None:
        raise AssertionError


def world(memory: int = 1000, queue_size: int = 100, **limits: Any) -> tuple[ModelScheduler, SteppingEngine]:
    scheduler = ModelScheduler(BatchPolicy(queue_size=queue_size, tokens=TokenPolicy(**limits)))
    engine = SteppingEngine(scheduler, memory)
    scheduler.attach(engine)
    return scheduler, engine


def ask(scheduler: ModelScheduler, name: str, tokens: int = 100, **more: Any) -> tuple[Job, Sink]:
    sink = Sink()
    asked = Job(name, None, sink, tokens=TokenDemand(0, prompt=tokens - tokens // 2, completion=tokens // 2), **more)
    scheduler.submit(asked)
    return asked, sink


def outcome(sink: Sink) -> tuple[str, object]:
    return sink.heard[-1]


def test_an_engine_never_has_more_than_its_memory(run: Run) -> None:
    async def main() -> None:
        scheduler, engine = world(memory=1000)
        sinks = [ask(scheduler, f"{number}", 150)[1] for number in range(40)]
        await scheduler.idle()
        assert {outcome(sink) for sink in sinks} == {("done", "whole")}
        assert [len(sink.heard) for sink in sinks] == [76] * 40
        assert 500 < engine.most <= 1000
        assert [job.id for job in engine.served] == [str(number) for number in range(40)]

    run(main())


def test_a_noisy_neighbour_at_three_times_the_capacity(run: Run) -> None:
    """Each request holds 100 of 1,000 tokens for 0.5 s: 20 a second are served, and the noisy client sends 60."""

    async def main() -> None:
        scheduler, _ = world(memory=1000, queue_size=50)
        waits: list[float] = []
        loop = asyncio.get_running_loop()
        refused = 0

        async def noisy() -> None:
            nonlocal refused
            for number in range(1200):
                try:
                    ask(scheduler, f"n{number}", client="noisy")
                except QueueFull:
                    refused += 1
                await asyncio.sleep(1 / 60)

        async def quiet() -> None:
            for number in range(20):
                job, sink = ask(scheduler, f"q{number}", client="quiet")
                sent = loop.time()
                while not sink.heard:
                    await asyncio.sleep(0.01)
                assert sink.heard[0][0] == "chunk"
                waits.append(loop.time() - sent)
                assert job.started is not None
                await asyncio.sleep(0.7)

        neighbour = asyncio.ensure_future(noisy())
        await quiet()
        neighbour.cancel()
        assert refused > 100
        assert scheduler.queued >= 40, "the noisy one's queue is full"
        assert len(waits) == 20
        # A place is free every 0.05 s, and the quiet client has every other turn; the backlog is worth 2.5 s.
        assert max(waits) < 0.3
        scheduler.close(SchedulerError("over"))
        await scheduler.idle()

    run(main())


@pytest.mark.parametrize(
    ("limits", "deadline", "hang_after", "error", "tokens"),
    [
        ({"first_token": 2.0}, None, 0.0, FirstTokenLate, 0),
        ({"per_token": 2.0}, None, 0.055, Stalled, 5),
        ({}, 0.255, None, AnswerLate, 25),
    ],
)
def test_what_is_late_ends_and_leaves_the_engine(
    run: Run, limits: dict[str, float], deadline: float | None, hang_after: float | None,
    error: type[Exception], tokens: int,
) -> None:  # fmt: skip
    async def main() -> None:
        scheduler, engine = world(**limits)
        if hang_after is not None:
            asyncio.get_running_loop().call_later(hang_after, engine.hangs.set)
        job, sink = ask(scheduler, "a", 200, deadline=deadline)
        await scheduler.idle()
        assert outcome(sink)[0] == "fail"
        assert isinstance(outcome(sink)[1], error)
        assert len(sink.heard) == tokens + 1
        assert engine.interrupted == [job]
        engine.hangs.clear()
        _, after = ask(scheduler, "b")
        await scheduler.idle()
        assert outcome(after) == ("done", "whole")

    run(main())


def test_a_request_in_the_queue_has_its_first_token_late_as_well(run: Run) -> None:
    async def main() -> None:
        scheduler, engine = world(memory=1000, first_token=1.0)
        ask(scheduler, "a", 1000)  # 5 s
        _, sink = ask(scheduler, "b", 1000)
        await scheduler.idle()
        assert [verb for verb, _ in sink.heard] == ["fail"]
        assert [job.id for job in engine.served] == ["a"]

    run(main())


def test_nothing_is_late_while_nothing_is_read(run: Run) -> None:
    async def main() -> None:
        scheduler, engine = world(per_token=2.0)
        _, sink = ask(scheduler, "a")
        await asyncio.sleep(0.055)
        scheduler.paused(engine)
        engine.hangs.set()
        await asyncio.sleep(60.0)
        assert sink.heard[-1] == ("chunk", 5)
        scheduler.resumed(engine)
        await scheduler.idle()
        assert isinstance(outcome(sink)[1], Stalled)

    run(main())


def test_shorter_prompts_than_expected_let_the_next_in(run: Run) -> None:
    async def main() -> None:
        scheduler, engine = world(memory=1000)
        sink = Sink()
        scheduler.submit(Job("a", None, sink, tokens=TokenDemand(3600, completion=50)))  # 900 by its bytes
        ask(scheduler, "b", 200)
        await turn()
        await turn()
        await asyncio.sleep(0.015)
        await turn()
        assert [job.id for job in engine.served] == ["a", "b"]
        assert scheduler.running == 2
        await scheduler.idle()

    run(main())


def test_schedulers_without_tokens_are_told_in_vain(run: Run) -> None:
    async def main() -> None:
        scheduler, worker, client = setup()
        client.send("a")
        scheduler.progress(client.jobs["a"], 1, 1)
        scheduler.paused(worker)
        scheduler.resumed(worker)
        assert scheduler.queued == 1

    run(main())
