"""What makes a model faster once it serves: requests see the model as it was until a choice is made, and what one worker
has found the others and the next start take over.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.context import Context
from torchserve.core.handlers.speed.accelerate import STATE, LaterTuning, accelerate
from torchserve.core.handlers.speed.later import may_wait
from torchserve.core.handlers.speed.trial_memory import Outcome, TrialMemory

from .doubles import MERGED, PLAIN, Clock, Net, Small, Stack, Ticking, handler_of

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")
KEY = "c" * 40
BATCH = torch.rand(3, 3, 8, 8)


class Over(BaseException):
    """The front is gone."""


class Busy:
    """Turns of a front that has a request before every step. Its answers and the notes are kept."""

    def __init__(self, handler: Any, most: float = float("inf")) -> None:
        self.handler = handler
        self.most = most
        self.answers: list[torch.Tensor] = []
        self.layouts: list[bool] = []
        self.told: list[dict[str, str]] = []
        self.waited: list[float] = []

    def wanted(self) -> bool:
        return True

    def give_way(self, seconds: float = 0.0) -> None:
        if len(self.answers) >= self.most:
            raise Over
        self.waited.append(seconds)
        self.layouts.append(getattr(self.handler.model, "is_last", False))
        self.answers.append(self.handler.inference(BATCH))

    def tell(self, notes: dict[str, str]) -> None:
        self.told.append(dict(notes))


class Quiet(Busy):
    """Turns of a front without requests."""

    def wanted(self) -> bool:
        return False

    def give_way(self, seconds: float = 0.0) -> None:
        self.waited.append(seconds)


@pytest.fixture
def memory(tmp_path: Path) -> Callable[..., TrialMemory]:
    return lambda between=None: TrialMemory(tmp_path / "trials", KEY)


def later(handler: Any, memory: Callable[..., TrialMemory], clock: Any, notes: dict[str, str], **config: Any) -> Any:
    return LaterTuning(handler, config, 4, notes, memory, clock)


def test_requests_get_the_model_as_it_was_until_the_choice_is_made(memory: Callable[..., TrialMemory]) -> None:
    model = Net(Clock())
    handler = handler_of(model)
    turns, notes = Busy(handler), {"preprocessing": "fused"}
    expected = model(BATCH)
    later(handler, memory, model.clock, notes, freeze=False).run(turns)
    assert model.is_last
    chosen = turns.layouts.index(True)
    assert not any(turns.layouts[:chosen])
    assert all(turns.layouts[chosen:]), "it isn't reverted once it was taken"
    assert chosen > 8, "it was measured between requests"
    assert len(turns.layouts) - chosen <= 2, "only the warm-up is behind the choice"
    assert all(torch.allclose(answer, expected, rtol=1e-4) for answer in turns.answers)
    assert turns.told[0][STATE] == "trying what is faster"
    assert turns.told[-1]["memory format"] == "channels last: measured 2.00 for 1 and 2.00 for 4 times as fast"
    assert turns.told[-1]["warm-up"].startswith("batches of 1, 2, 4 in")
    assert turns.told[-1]["preprocessing"] == "fused"
    assert STATE not in turns.told[-1]


def test_a_copy_is_made_once_and_unseen_while_it_is_measured(memory: Callable[..., TrialMemory]) -> None:
    handler = handler_of(torch.jit.script(Stack()))
    seen: list[bool] = []

    class Watching(Busy):
        def give_way(self, seconds: float = 0.0) -> None:
            seen.append(self.handler._faster_model is not None)

    with Ticking({PLAIN: 0.02, MERGED: 0.01}) as clock:
        later(handler, memory, clock, {}).run(Watching(handler))
    assert handler._faster_model is not None
    assert len(seen) - seen.index(True) <= 6, "only the warm-up is behind the choice"
    assert all(seen[seen.index(True) :])
    sizes, _ = handler._faster_model._run._known[torch.get_num_threads()]
    assert sizes == [1, 2, 4], "its weights are laid out for each size that was warmed up"


def test_the_time_of_requests_is_none_of_the_trial_s(memory: Callable[..., TrialMemory]) -> None:
    model = Net(Clock())

    class Slow(Busy):
        def give_way(self, seconds: float = 0.0) -> None:
            model.clock.now += 100.0

    turns = Slow(handler_of(model))
    later(turns.handler, memory, model.clock, {}, freeze=False).run(turns)
    assert turns.told[-1]["memory format"] == "channels last: measured 2.00 for 1 and 2.00 for 4 times as fast"
    assert turns.told[-1]["warm-up"] == "batches of 1, 2, 4 in 1.0 s"


def test_sizes_are_warmed_up_however_long_the_trials_took(memory: Callable[..., TrialMemory]) -> None:
    model, notes = Net(Clock(), 0.6), dict[str, str]()
    handler = handler_of(model)
    assert accelerate(handler, {"freeze": False}, 4, model.clock)["warm-up"].startswith("batches of 1, 4 in ")
    later(handler, memory, model.clock, notes, freeze=False).run(Quiet(handler))
    assert notes["warm-up"].startswith("batches of 1, 2, 4 in ")


@pytest.mark.parametrize(("plain", "last", "chosen"), [(0.02, 0.01, True), (0.01, 0.02, False)])
def test_the_next_start_takes_what_was_found(
    memory: Callable[..., TrialMemory], plain: float, last: float, chosen: bool
) -> None:
    ran: list[list[int]] = []
    for _ in range(2):
        model = Net(Clock(), plain, last)
        handler, notes = handler_of(model), dict[str, str]()
        later(handler, memory, model.clock, notes, freeze=False).run(Quiet(handler))
        assert model.is_last == chosen
        ran.append(model.ran)
    assert notes["memory format"].endswith("times as fast (remembered)")
    assert len(ran[1]) < len(ran[0]) / 2


def test_what_is_remembered_and_changes_the_answers_is_not_taken(memory: Callable[..., TrialMemory]) -> None:
    class Strided(Net):
        def made(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) * x.stride()[1]

    first = memory()
    assert first.claim()
    first.remember("memory format", Outcome(True, "channels last: measured 9.00 for 1 times as fast"))
    first.release()
    model, notes = Strided(Clock()), dict[str, str]()
    handler = handler_of(model)
    later(handler, memory, model.clock, notes, freeze=False).run(Quiet(handler))
    assert notes["memory format"] == "as the model has it: channels last changes the answers"
    assert not model.is_last


def test_what_workers_did_not_survive_is_left_alone(memory: Callable[..., TrialMemory]) -> None:
    for _ in range(2):
        doomed = memory()
        assert doomed.claim()
        doomed.begin("memory format")
        doomed.release()
    model, notes = Net(Clock()), dict[str, str]()
    handler = handler_of(model)
    later(handler, memory, model.clock, notes, freeze=False).run(Quiet(handler))
    assert notes["memory format"].startswith("as the model has it: workers have ended while channels last was tried")
    assert not model.is_last


def test_a_front_that_goes_in_the_middle_says_nothing_of_the_model(memory: Callable[..., TrialMemory]) -> None:
    model = Net(Clock())
    handler = handler_of(model)
    with pytest.raises(Over):
        later(handler, memory, model.clock, {}, freeze=False).run(Busy(handler, most=15))
    after = memory()
    assert after.claim()
    assert after.deaths("memory format") == 0
    assert dict(after.outcomes) == {}


def test_a_worker_waits_while_another_one_tries(memory: Callable[..., TrialMemory]) -> None:
    class Taken(TrialMemory):
        left = 2

        def claim(self) -> bool:
            self.left -= 1
            return self.left < 0 and super().claim()

    made = memory()
    taken = Taken(made._folder, KEY)
    model = Net(Clock())
    turns = Quiet(handler_of(model))
    later(turns.handler, lambda between: taken, model.clock, {}, freeze=False).run(turns)
    assert turns.waited == [0.0, 1.0, 1.0]
    assert turns.told[0][STATE].startswith("waits for another worker")
    assert model.is_last


def test_a_compiled_model_is_compiled_for_the_sizes_that_come(memory: Callable[..., TrialMemory]) -> None:
    model = Net(Clock(), 5.0)
    model._orig_mod = None
    handler, notes = handler_of(model), dict[str, str]()
    later(handler, memory, model.clock, notes).run(Quiet(handler))
    assert set(model.ran) == {1}
    assert notes["warm-up"] == "batches of 1 in 10.0 s"


def test_a_model_that_fails_is_served_as_it_is(memory: Callable[..., TrialMemory]) -> None:
    class Broken(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("no room")

    handler = handler_of(Broken(Clock()))
    turns = Quiet(handler)
    later(handler, memory, handler.model.clock, {}).run(turns)
    assert turns.told[-1] == {"warm-up": "failed: OutOfMemoryError: no room"}
    following = memory()
    assert following.claim()


class Padded(Small):
    padded_batch_sizes = (1, 4)


@pytest.mark.parametrize(
    ("cls", "device", "config", "waits"),
    [
        (Small, "cpu", {}, True),
        (Small, None, {"warmUpFirst": False}, True),
        (Small, "cuda:0", {}, False),
        (Small, "cpu", {"warmUpFirst": True}, False),
        (Padded, "cpu", {}, False),
    ],
)
def test_what_must_be_there_before_the_first_request(
    cls: type, device: Any, config: dict[str, Any], waits: bool
) -> None:
    assert may_wait(handler_of(Net(Clock()), cls, device), config) == waits


@pytest.mark.parametrize(
    ("cls", "config", "left"),
    [
        (Small, {}, True),
        (Small, {"warmUp": False}, False),
        (BaseHandler, {}, False),
        (Small, {"warmUpFirst": True}, False),
    ],
)
@pytest.mark.parametrize("defers", [True, False])
def test_a_handler_leaves_it_only_to_who_wants_it(cls: type, config: dict[str, Any], left: bool, defers: bool) -> None:
    handler = handler_of(Net(Clock()), cls)
    context = Context("m", "/", {"model": {}}, 1, None, "0", model_yaml_config=config)
    context.defers = defers
    BaseHandler.settle(handler, context)
    assert (context.later is not None) == (left and defers)
    assert (STATE in context.notes) == (left and defers)
    assert bool(handler.model.ran) == (cls is Small and config.get("warmUp") is not False and not (left and defers))


@pytest.mark.parametrize("config", [{"bf16": "auto"}, {"quantize": "dynamic"}, {"compile": "auto"}])
def test_what_moves_answers_or_compiles_comes_before_the_first_request(config: dict[str, Any]) -> None:
    assert not may_wait(handler_of(None), config)


def test_from_which_batch_on_a_copy_runs_is_remembered(memory: Callable[..., TrialMemory]) -> None:
    before = memory()
    assert before.claim()
    before.remember("freeze", Outcome(taken=True, note="frozen", least=4))
    before.release()
    handler = handler_of(torch.jit.script(Stack()))
    with Ticking({PLAIN: 0.02, MERGED: 0.01}) as clock:
        later(handler, memory, clock, {}).run(Quiet(handler))
    assert handler._faster_model.least == 4
