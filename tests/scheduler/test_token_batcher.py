"""Who gets into an engine and when, what is refused, and what is ended: rows of what happens and what follows."""

from __future__ import annotations

import math
from itertools import count
from typing import Any

import pytest

from torchserve.scheduler.batcher import Expire, Refuse, Run, Stop
from torchserve.scheduler.errors import (
    AnswerLate,
    FirstTokenLate,
    QueueClosed,
    QueueFull,
    Stalled,
    TooManyTokens,
    WouldBeLate,
)
from torchserve.scheduler.job import Batch, Job
from torchserve.scheduler.policy import BatchPolicy
from torchserve.scheduler.token_batcher import TokenBatcher
from torchserve.scheduler.tokens import EngineBounds, TokenDemand, TokenPolicy

from .doubles import Nobody
from .doubles import job as plain_job


class Engine(Nobody):
    """A runner with bounds."""

    def __init__(self, name: str = "e", memory: int = 1000, context: int = 800, step: int = 0) -> None:
        super().__init__(name)
        self.bounds = EngineBounds(context, memory, step)


class World:
    """A batcher, its engines, and the batches that they have."""

    def __init__(self, *engines: Nobody, queue_size: int = 100, rule: str = "adaptive", **limits: Any) -> None:
        self.batcher = TokenBatcher(BatchPolicy(queue_size=queue_size, rule=rule, tokens=TokenPolicy(**limits)))
        self.running: dict[str, Batch] = {}
        self._numbers = count(1)
        for engine in engines:
            self.batcher.ready(engine, 0.0)

    def offer(self, name: str, tokens: int, now: float = 0.0, **more: Any) -> Job:
        """A request whose cost is `tokens`."""
        demand = more.pop("demand", TokenDemand(0, prompt=tokens - 1, completion=1))
        made = plain_job(name, now, tokens=demand, **more)
        self.batcher.offer(made, now)
        return made

    def collect(self, now: float = 0.0) -> str:
        """What is to be done, as text: name>engine, name expires, name refused, name stopped."""
        said = []
        for effect in self.batcher.collect(now):
            name = effect.batch.jobs[0].id if isinstance(effect, Run) else effect.job.id
            if isinstance(effect, Run):
                self.running[name] = effect.batch
                said.append(f"{name}>{effect.runner.name}")
            elif isinstance(effect, Stop):
                said.append(f"{name} {type(effect.error).__name__}")
                self.error = effect.error
            else:
                said.append(f"{name} {'expires' if isinstance(effect, Expire) else type(effect.error).__name__}")
                assert isinstance(effect, Expire | Refuse)
        return ", ".join(said)

    def end(self, name: str, now: float = 0.0, *, worked: bool = True) -> None:
        self.batcher.ended(self.running.pop(name), now, worked=worked)

    def has(self, job: Job, prompt: int, generated: int, now: float = 0.0) -> None:
        self.batcher.progress(job, prompt, generated, now)


def test_what_fits_goes_and_the_rest_waits_in_order() -> None:
    world = World(Engine())
    for name, tokens in (("a", 400), ("b", 500), ("c", 300), ("d", 50)):
        world.offer(name, tokens)
    assert world.collect() == "a>e, b>e"
    assert world.batcher.queued == 2, "the small one behind does not overtake"
    world.end("b")
    assert world.collect() == "c>e, d>e"
    assert world.collect() == ""


def test_the_engine_with_the_most_room_is_next() -> None:
    small, large = Engine("s", 1000), Engine("l", 1500)
    world = World(small, large)
    for name, tokens in (("a", 400), ("b", 600), ("c", 200), ("d", 700), ("e", 600)):
        world.offer(name, tokens)
    assert world.collect() == "a>l, b>l, c>s, d>s"
    world.end("a")
    assert world.collect() == "e>l"


def test_what_is_larger_than_a_memory_has_an_idle_engine_for_itself() -> None:
    world = World(Engine(memory=1000))
    world.offer("a", 10)
    world.offer("b", 0, demand=TokenDemand(0, prompt=300, completion=99, sequences=4, copies=4))
    assert world.collect() == "a>e"
    world.end("a")
    world.offer("c", 1)
    assert world.collect() == "b>e"
    assert world.batcher.free == 0
    world.end("b")
    assert world.collect() == "c>e"


def test_a_step_has_a_token_for_each_sequence() -> None:
    world = World(Engine(step=3))
    world.offer("a", 2)
    world.offer("b", 0, demand=TokenDemand(0, prompt=1, completion=1, sequences=3, copies=3))
    world.offer("c", 2)
    assert world.collect() == "a>e"
    world.end("a")
    assert world.collect() == "b>e"
    world.end("b")
    assert world.collect() == "c>e"


def test_an_engine_of_unknown_memory_takes_as_many_as_a_worker_may_have() -> None:
    world = World(Nobody("x"), most_runs=2)
    for name in "abc":
        world.offer(name, 10**6)
    assert world.collect() == "a>x, b>x"
    assert (world.batcher.free, world.batcher.queued) == (0, 1)
    world.end("a")
    assert world.batcher.free == 1
    assert world.collect() == "c>x"


def test_a_request_is_charged_with_what_it_has() -> None:
    world = World(Engine())
    a = world.offer("a", 0, demand=TokenDemand(400, completion=500))  # 100 + 256
    assert (world.collect(), a.cost) == ("a>e", 356)
    world.has(a, 500, 1)  # a prompt of more tokens than its bytes said
    world.offer("b", 300)
    assert world.collect() == "", "756 of 1000"
    world.has(a, 500, 257)
    world.offer("c", 200)
    world.end("a")
    assert world.collect() == "b>e, c>e"


def test_a_request_that_is_shorter_than_it_seemed_makes_room_at_its_first_token() -> None:
    world = World(Engine())
    a = world.offer("a", 0, demand=TokenDemand(2000, completion=100))  # 500 + 100
    world.offer("b", 700)
    assert world.collect() == "a>e"
    world.has(a, 200, 1)
    assert world.collect() == "b>e"


def test_progress_of_what_does_not_run_is_nothing() -> None:
    world = World(Engine())
    world.has(world.offer("a", 10), 5, 5)
    plain = plain_job("p", 0.0, exclusive=True)
    world.batcher.offer(plain, 0.0)
    assert world.collect() == "a>e, p>e"
    world.has(plain, 5, 5)
    world.end("a")
    world.end("p")
    assert world.batcher.seconds_per_job == 0.0, "nothing was learnt of a request without a token"


def test_what_can_never_fit_is_refused_with_both_numbers() -> None:
    world = World(Engine(context=100))
    with pytest.raises(TooManyTokens) as refused:
        world.offer("a", 101)
    assert (refused.value.needed, refused.value.context) == (101, 100)
    with pytest.raises(TooManyTokens):
        world.offer("b", 0, demand=TokenDemand(4, completion=100))
    world.offer("c", 100)
    assert World().offer("d", 101), "nothing is known of an engine that has not loaded"


def test_the_queue_ends_and_a_burst_makes_room_for_others() -> None:
    world = World(queue_size=3)
    for name in "abc":
        world.offer(name, 10, client="noisy")
    with pytest.raises(QueueFull):
        world.offer("x", 10, client="quiet")  # before an engine was asked
    assert world.collect() == ""
    with pytest.raises(QueueFull):
        world.offer("d", 10, client="noisy")
    world.offer("e", 10, client="quiet")
    assert world.batcher.queued == 3
    assert world.collect() == "c QueueFull"
    world.offer("f", 5, client="another")
    world.batcher.cancel(world.batcher._queue._displaced[0], 0.0)
    assert world.collect() == ""
    world.batcher.close(0.0)
    with pytest.raises(QueueClosed):
        world.offer("g", 10)
    assert [job.id for job in world.batcher.flush(0.0)] == ["a", "e", "f"]


LIMITS = {"first_token": 5.0, "per_token": 2.0}


def test_a_request_that_waits_too_long_for_its_first_token_expires() -> None:
    world = World(**LIMITS)
    world.offer("a", 10)
    world.offer("b", 10, expires=3.0)
    world.offer("c", 10, deadline=4.0)
    assert world.collect() == ""
    assert world.batcher.wakeup() == 3.0
    assert world.collect(3.0) == "b expires"
    assert world.collect(5.0) == "c expires, a expires"


def test_a_first_token_that_does_not_come_ends_the_request() -> None:
    world = World(Engine(), **LIMITS)
    a = world.offer("a", 10)
    b = world.offer("b", 10)
    world.collect(1.0)
    assert world.batcher.wakeup() == 5.0
    world.has(b, 9, 1, 4.0)
    assert world.collect(5.0) == "a FirstTokenLate"
    assert isinstance(world.error, FirstTokenLate)
    assert (world.error.waited, world.error.allowed, world.error.generated) == (5.0, 5.0, 0)
    world.batcher.cancel(a, 5.0)
    assert world.batcher.wakeup() == 6.0
    assert world.collect(6.0) == "b Stalled"
    assert isinstance(world.error, Stalled)
    assert (world.error.waited, world.error.allowed, world.error.generated) == (2.0, 2.0, 1)


def test_tokens_that_come_put_the_end_off() -> None:
    world = World(Engine(), **LIMITS)
    a = world.offer("a", 10)
    world.collect()
    for now in (1.0, 2.5, 4.0, 5.5):
        world.has(a, 9, round(now), now)
        assert world.collect(now) == ""
    assert world.collect(6.0) == "", "the look that was due for an earlier token"
    assert world.batcher.wakeup() == 7.5
    world.end("a", 7.0)
    assert world.collect(7.5) == ""
    assert world.batcher.wakeup() is None


def test_a_deadline_ends_what_generates() -> None:
    world = World(Engine())
    a = world.offer("a", 10, deadline=9.0)
    world.collect()
    world.has(a, 9, 1, 1.0)
    assert world.batcher.wakeup() == 9.0
    assert world.collect(9.0) == "a AnswerLate"
    assert isinstance(world.error, AnswerLate)
    assert (world.error.allowed, world.error.generated) == (9.0, 1)


def test_silence_means_nothing_while_nothing_is_read() -> None:
    engine = Engine()
    world = World(engine, **LIMITS)
    a = world.offer("a", 10)
    b = world.offer("b", 10, deadline=30.0)
    world.collect()
    world.has(a, 9, 1, 1.0)
    world.has(b, 9, 1, 1.0)
    world.batcher.paused(engine, 2.0)
    assert world.collect(20.0) == ""
    assert world.collect(30.0) == "b AnswerLate"
    world.batcher.cancel(b, 30.0)
    world.batcher.resumed(engine, 40.0)
    assert world.collect(40.0) == ""
    assert world.batcher.wakeup() == 42.0
    assert world.collect(42.0) == "a Stalled"
    world.batcher.paused(Nobody("other"), 42.0)
    world.batcher.resumed(Nobody("other"), 42.0)


def test_what_asks_for_no_tokens_needs_no_memory() -> None:
    world = World(Engine(memory=800))
    world.offer("a", 800)
    world.collect()
    world.batcher.offer(plain_job("p", 0.0), 0.0)
    assert world.collect() == "p>e"


def test_other_work_is_not_timed_by_tokens() -> None:
    world = World(Engine(), **LIMITS)
    world.batcher.offer(plain_job("p", 0.0, exclusive=True), 0.0)
    assert world.collect() == "p>e"
    assert world.batcher.wakeup() is None


def learnt(**limits: Any) -> World:
    """A world whose requests keep their tokens for 10 s, with 400 of 1,000 tokens taken; the first token takes 1 s."""
    world = World(Engine(), **limits)
    a = world.offer("a", 400)
    world.collect()
    world.has(a, 399, 1, 1.0)
    world.end("a", 10.0)
    b = world.offer("b", 400, 10.0)
    assert world.collect(10.0) == "b>e"
    world.has(b, 399, 1, 10.0)
    return world


def test_a_request_that_can_not_be_in_time_is_refused_at_once() -> None:
    world = learnt(first_token=30.0)
    world.offer("c", 600, 10.0)  # there is room
    assert world.batcher.queued == 1
    # It needs 1,000 tokens more than there is room for, and 400 are freed in 10 s.
    with pytest.raises(WouldBeLate) as refused:
        world.offer("d", 400, 10.0, deadline=12.0)
    assert refused.value.needed == pytest.approx(400 * 10 / 400 + 1.0)
    assert refused.value.left == 2.0
    world.offer("d", 400, 10.0)
    with pytest.raises(WouldBeLate):
        world.offer("e", 800, 10.0)


def test_a_quiet_client_is_not_refused_for_anothers_backlog() -> None:
    world = learnt(first_token=30.0)
    for index in range(3):
        world.offer(f"n{index}", 400, 10.0, client="noisy")
    with pytest.raises(WouldBeLate):
        world.offer("m", 400, 10.0, client="noisy", deadline=25.0)
    world.offer("q", 400, 10.0, client="quiet", deadline=25.0)


@pytest.mark.parametrize("why", ["no limit", "no engine", "eager", "nothing runs", "nothing known"])
def test_nothing_is_refused_where_nothing_can_be_said(why: str) -> None:
    world = learnt()
    deadline: float | None = 10.5
    if why == "no limit":
        deadline = None
    if why == "no engine":
        world.batcher.gone(next(iter(world.batcher._engines)), 10.0)
    if why == "nothing runs":
        world.end("b", 10.0)
        deadline = 12.0
    if why == "eager":
        world = World(Engine(), rule="eager")
    if why == "nothing known":
        world = World(Engine())
    world.offer("c", 800, 10.0, deadline=deadline)
    assert world.batcher.queued == 1


def test_engines_come_and_go() -> None:
    engine = Engine()
    world = World(engine)
    world.batcher.gone(Nobody("never there"), 0.0)
    world.offer("a", 10)
    world.collect()
    world.batcher.gone(engine, 0.0)
    world.offer("b", 10)
    assert (world.collect(), world.batcher.free) == ("", 0)
    world.batcher.ready(engine, 0.0)
    assert world.collect() == "b>e"
    world.batcher.gone(engine, 0.0)
    world.end("a")
    world.end("b")
    assert world.batcher._engines == {}
    world.batcher.ready(engine, 0.0)
    world.batcher.gone(engine, 0.0)
    assert world.batcher._engines == {}
    with pytest.raises(AssertionError):
        world.batcher.ready(engine, 0.0, once=True)


def test_what_is_cancelled_leaves_the_queue_and_teaches_nothing() -> None:
    world = World(Engine())
    a, b = world.offer("a", 600), world.offer("b", 600)
    world.collect()
    world.batcher.cancel(b, 0.0)
    assert world.batcher.queued == 0
    world.has(a, 599, 1, 1.0)
    world.batcher.cancel(a, 1.0)
    running = world.running["a"]
    world.end("a", 2.0)
    assert world.batcher.seconds_per_job == 0.0
    with pytest.raises(AssertionError):
        world.batcher.requeue(running, 2.0)


def test_seconds_per_job() -> None:
    world = learnt()
    assert world.batcher.seconds_per_job == 10.0
    world.offer("c", 10, 10.0)
    world.collect(10.0)
    assert world.batcher.seconds_per_job == 5.0


def test_bodies_that_arrive() -> None:
    world = World()
    world.batcher.body_started(0.0)
    assert world.batcher.bodies_arriving == 1
    world.batcher.body_finished(0.0)
    with pytest.raises(ValueError, match="without body_started"):
        world.batcher.body_finished(0.0)
    assert world.batcher.wakeup() is None
    assert math.isinf(TokenPolicy().first_token)
