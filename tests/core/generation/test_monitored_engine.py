"""What the server is told of an engine: at once what it waits for, the rest now and then, and never without bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from torchserve.core.generation.engine import EngineStopped, Progress, Sampling
from torchserve.core.generation.monitored_engine import INTERVAL, MOST_GAPS, EngineReport, MonitoredEngine
from torchserve.scheduler.virtual_time import VirtualLoop

from .fake_engine import FakeEngine


class Watched:
    """A monitored engine, what it reported and when, and what its requests heard."""

    def __init__(self) -> None:
        self.inner = FakeEngine()
        self.loop = asyncio.get_running_loop()
        self.told: list[tuple[float, EngineReport]] = []
        self.heard: list[Progress] = []
        self.engine = MonitoredEngine(self.inner, self._report, clock=self.loop.time)

    def _report(self, report: EngineReport) -> None:
        self.told.append((self.loop.time(), report))

    def submit(self, *names: str, prompt: int = 3) -> None:
        for name in names:
            self.engine.submit(name, [1] * prompt, Sampling(50), self.heard.append)

    async def reports(self, seconds: float = 0.0) -> list[EngineReport]:
        """The reports of the next so many seconds, or of this turn of the loop."""
        await asyncio.sleep(seconds)
        told, self.told = self.told, []
        return [report for _, report in told]


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test())

    run.__name__ = test.__name__
    return run


@in_virtual_time
async def test_a_first_token_and_an_end_are_told_at_once_and_other_tokens_later() -> None:
    watched = Watched()
    watched.submit("a-0")
    watched.inner.step()
    assert await watched.reports() == [
        EngineReport(1, 0, 0.004, (("a", 3, 1),), prompt_tokens=3, generation_tokens=1),
    ]
    await asyncio.sleep(0.1)
    watched.inner.step(tokens=2)
    assert await watched.reports(INTERVAL - 0.01) == []
    (report,) = await watched.reports(0.02)
    assert report.progress == (("a", 3, 3),)
    assert report.gaps == pytest.approx((0.05, 0.05))
    assert (report.prompt_tokens, report.generation_tokens) == (0, 2)
    watched.inner.step(finished="length")
    assert [(each.ended, each.running, each.progress) for each in await watched.reports()] == [
        (("length",), 0, (("a", 3, 4),)),
    ]
    assert await watched.reports(60.0) == [], "an idle engine has nothing to tell"
    assert [len(each.tokens) for each in watched.heard] == [1, 3, 4]


@in_virtual_time
async def test_the_sequences_of_a_request_are_one_request() -> None:
    watched = Watched()
    watched.submit("a-0", "a-1", prompt=5)
    watched.submit("b-c-0")
    watched.inner.step("a-1")
    (report,) = await watched.reports()
    assert (report.progress, report.prompt_tokens) == ((("a", 10, 1),), 5)
    watched.inner.step("a-1", finished="stop")
    watched.inner.step("a-0", tokens=4)
    watched.inner.step("b-c-0")
    (report,) = await watched.reports()
    assert report.progress == (("a", 10, 6), ("b-c", 3, 1))
    assert (report.ended, report.prompt_tokens) == (("stop",), 8)


@in_virtual_time
async def test_what_ends_by_itself_or_is_cancelled_is_counted_once() -> None:
    watched = Watched()
    watched.submit("a-0", "b-0", "c-0", "d-0")
    watched.inner.step("a-0", error="out of memory")
    watched.engine.cancel("a-0")
    watched.engine.cancel("b-0")
    watched.engine.cancel("b-0")
    watched.engine.cancel("d-0", "stop")
    watched.engine.cancel("nobody-0")
    (report,) = await watched.reports()
    assert (report.ended, report.running, report.waiting) == (("error", "abort", "stop"), 0, 1)
    assert watched.heard[0].error == "out of memory"


@in_virtual_time
async def test_a_request_that_the_engine_refuses_leaves_nothing() -> None:
    watched = Watched()
    watched.engine.stop()
    with pytest.raises(EngineStopped):
        watched.submit("a-0")
    assert watched.engine._running == watched.engine._requests == {}
    assert await watched.reports(60.0) == []


@in_virtual_time
async def test_nothing_is_told_of_an_engine_that_was_stopped() -> None:
    watched = Watched()
    watched.submit("a-0")
    watched.inner.step()
    await watched.reports()
    watched.engine.stop()
    assert watched.heard[-1].error
    assert await watched.reports() == []


@in_virtual_time
async def test_a_report_is_bounded() -> None:
    watched = Watched()
    watched.submit("a-0")
    for _ in range(3):
        watched.inner.step(tokens=MOST_GAPS)
    (report,) = await watched.reports()
    assert (len(report.gaps), report.generation_tokens) == (MOST_GAPS, 3 * MOST_GAPS)
    assert report.progress == (("a", 3, 3 * MOST_GAPS),)


@in_virtual_time
async def test_hits_of_the_prefix_cache_since_the_last_report() -> None:
    watched = Watched()
    watched.inner.prefix = (100, 40)
    watched.submit("a-0")
    watched.inner.step()
    (first,) = await watched.reports()
    watched.inner.prefix = (150, 60)
    watched.inner.step()
    (second,) = await watched.reports(1.0)
    assert [(each.prefix_queries, each.prefix_hits) for each in (first, second)] == [(100, 40), (50, 20)]
    watched.inner.prefix = (0, 0)  # as of a child process that was started anew
    watched.inner.step(finished="stop")
    (third,) = await watched.reports()
    assert (third.prefix_queries, third.prefix_hits) == (0, 0)


@in_virtual_time
async def test_the_engine_behind_it_is_asked() -> None:
    watched = Watched()
    assert (watched.engine.context_length, watched.engine.capacity.memory) == (100, 1000)
    watched.submit("a-0")
    assert watched.engine.stats().waiting == 1
