"""Conversation: requests come between the steps of the work on a model, and the end of the front ends that work."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from torchserve.core.backend.conversation import Conversation
from torchserve.core.backend.spare_time import BETWEEN, FIRST
from torchserve.core.handlers.speed.turns import Turns
from torchserve.core.wire.frames import Frame
from torchserve.core.wire.messages import Predict


class World:
    """A clock, and requests that come at their times. An answer takes `answer` seconds. After the last, the front is
    gone at `end`.
    """

    def __init__(self, *requests: float, end: float = 1000.0, answer: float = 0.1) -> None:
        self.now = 0.0
        self.requests = list(requests)
        self.end = end
        self.answer = answer
        self.said: list[str] = []
        self.fails: BaseException | None = None
        self.later: Any = None
        self.fault = ""
        self.profiler = SimpleNamespace(active=None)

    def clock(self) -> float:
        return self.now

    def comes(self, seconds: float) -> bool:
        due = self.requests[0] if self.requests else self.end
        if due <= self.now + seconds:
            self.now = max(self.now, due)
            return True
        self.now += seconds
        return False

    def next_frame(self) -> Frame[Any] | None:
        if not self.requests:
            self.now = max(self.now, self.end)
            return None
        self.now = max(self.now, self.requests.pop(0))
        return Frame(Predict(1, ()))

    def predict(self, *_: Any) -> None:
        """Other ranks: none."""

    def respond(self, *_: Any) -> None:
        self.now += self.answer
        self.said.append(f"answer {self.now:.1f}")
        if self.fails is not None:
            raise self.fails

    def tell(self, notes: dict[str, str]) -> None:
        self.said.append(str(notes))
        if self.fails is not None:
            raise self.fails

    def run(self, work: Callable[[Turns], None] | None) -> int:
        self.later = None if work is None else SimpleNamespace(run=work)
        world = cast("Any", self)
        return Conversation(world, world, world, self.clock).run()

    def steps(self, count: int, seconds: float) -> Callable[[Turns], None]:
        def work(turns: Turns) -> None:
            for number in range(count):
                if turns.wanted():
                    turns.give_way()
                self.said.append(f"step {number} at {self.now:.1f}")
                self.now += seconds

        return work


def test_without_work_requests_are_answered_until_the_end() -> None:
    world = World(1.0, 2.0)
    assert world.run(None) == 0
    assert world.said == ["answer 1.1", "answer 2.1"]


def test_steps_follow_one_another_while_nobody_asks() -> None:
    world = World()
    assert world.run(world.steps(3, 1.0)) == 0
    assert world.said == [f"step 0 at {FIRST}", f"step 1 at {FIRST + 1}", f"step 2 at {FIRST + 2}"]


def test_a_request_waits_for_one_step_at_most() -> None:
    world = World(1.0, 1.1)
    assert world.run(world.steps(3, 1.0)) == 0
    assert world.said == ["step 0 at 0.5", "answer 1.6", "answer 1.7", "step 1 at 1.8", "step 2 at 2.8"]


def test_a_first_request_that_has_waited_for_the_load_is_not_kept_by_a_step() -> None:
    world = World(0.3)
    world.run(world.steps(1, 1.0))
    assert world.said == ["answer 0.4", "step 0 at 0.5"]


def test_requests_without_a_pause_leave_steps_their_share() -> None:
    world = World(*[0.0] * 400, end=60.0, answer=0.1)
    world.run(world.steps(3, 0.2))
    at = [float(said.rpartition(" ")[2]) for said in world.said if said.startswith("step")]
    assert len(at) == 3
    assert all(later - earlier >= 0.2 * (1 + BETWEEN) for earlier, later in itertools.pairwise(at))
    assert len(world.said) == 403, "all requests are answered, too"


def test_a_pause_that_is_asked_for_is_one_from_work_only() -> None:
    world = World(1.0)

    def work(turns: Turns) -> None:
        turns.give_way(3.0)
        world.said.append(f"went on at {world.now:.1f}")

    world.run(work)
    assert world.said == ["answer 1.1", "went on at 3.0"]


@pytest.mark.parametrize("at", [0.2, 2.0])
def test_the_end_of_the_front_ends_the_work(at: float) -> None:
    world = World(end=at)
    assert world.run(world.steps(100, 1.0)) == 0
    assert len(world.said) <= 2


def test_a_dead_device_ends_the_work() -> None:
    world = World(0.1)
    world.fault = "illegal memory access"
    assert world.run(world.steps(3, 1.0)) == 1
    assert world.said == ["answer 0.2"]


def swallowing(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception:  # as a candidate that fails is
        pytest.fail("no error of a request is one of the model's")


def test_an_answer_that_can_not_be_sent_is_no_failure_of_the_work() -> None:
    world = World(0.1)
    world.fails = BrokenPipeError("gone")
    with pytest.raises(BrokenPipeError):
        world.run(lambda turns: swallowing(turns.give_way))


def test_nor_is_a_note() -> None:
    world = World()
    world.fails = BrokenPipeError("gone")
    with pytest.raises(BrokenPipeError):
        world.run(lambda turns: swallowing(lambda: turns.tell({"speed": "trying"})))
