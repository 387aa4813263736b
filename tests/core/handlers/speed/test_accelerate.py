"""accelerate: what it chooses for models whose speed is made up, and what nobody may notice of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.micro_batching import MicroBatching
from torchserve.core.handlers.speed.accelerate import accelerate

from .doubles import MERGED, PLAIN, Clock, Net, Small, Stack, Ticking, handler_of

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


class Strided(Net):
    def made(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) * x.stride()[1]


class Viewed(Net):
    def made(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(len(x), -1)


class Random(Net):
    def made(self, x: torch.Tensor) -> torch.Tensor:
        random.random()
        return x.mean((2, 3)) + 0 * torch.rand(1)


def notes(model: Net, batch_size: int = 4, cls: type = Small, **config: Any) -> dict[str, str]:
    return accelerate(handler_of(model, cls), config, batch_size, model.clock)


@pytest.mark.parametrize(
    ("plain", "last", "chosen", "note"),
    [
        (0.02, 0.01, True, "channels last: measured 2.00 for 1 and 2.00 for 4 times as fast"),
        (0.02, 0.019, False, "as the model has it: channels last is measured 1.05 for 1 and 1.05 for 4 times as fast"),
        (0.01, 0.02, False, "as the model has it: channels last is measured 0.50 for 1 and 0.50 for 4 times as fast"),
        (0.1, 0.05, True, "channels last: measured 2.00 for 1 times as fast"),
        (0.3, 0.1, False, "as the model has it: measuring would take too long"),
    ],
)
def test_the_faster_memory_format_is_taken(plain: float, last: float, chosen: bool, note: str) -> None:
    model = Net(Clock(), plain, last)
    expected = model(torch.ones(1, 3, 8, 8))
    assert notes(model)["memory format"] == note
    assert model.is_last == chosen
    assert torch.allclose(model(torch.ones(1, 3, 8, 8)), expected, rtol=1e-4)


@pytest.fixture
def two_cores(monkeypatch):
    """A worker that computes with one thread, and may have two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("TS_WORKER_CORES", "2")
    yield
    torch.set_num_threads(before)


def measured(
    seconds: dict[str, float], faster: float = 1.0, alone: float | None = None, **config: Any
) -> tuple[Any, Any]:
    """The handler and its notes."""
    handler = handler_of(torch.jit.script(Stack()))  # nothing can be traced under such a clock
    with Ticking(seconds, faster=faster, alone=alone) as clock:
        return handler, accelerate(handler, config, 4, clock)


@pytest.mark.parametrize(
    ("plain", "merged", "config", "note"),
    [
        (0.02, 0.01, {}, "frozen: measured 2.00 for 1 and 2.00 for 4 times as fast"),
        (0.02, 0.04, {"freeze": True}, "frozen: measured 0.50 for 1 and 0.50 for 4 times as fast"),
        (0.02, 0.019, {}, "as loaded: frozen is measured 1.05 for 1 and 1.05 for 4 times as fast"),
        (0.7, 0.1, {}, "as loaded: measuring would take too long"),
        (0.02, 0.01, {"freeze": False}, None),
    ],
)
def test_a_frozen_copy_runs_if_it_is_faster(
    plain: float, merged: float, config: dict[str, Any], note: str | None
) -> None:
    handler, told = measured({PLAIN: plain, MERGED: merged}, **config)
    frozen = note is not None and note.startswith("frozen")
    assert told.get("freeze") == note
    assert ("memory format" in told) != frozen
    batch = torch.rand(3, 3, 8, 8)
    with Ticking({PLAIN: 1.0, MERGED: 0.5}) as clock:
        answer = handler.inference(batch)
    assert clock.now == (1.5 if frozen else 3.0)
    torch.testing.assert_close(answer, handler.model(batch), rtol=1e-4, atol=1e-5)


def test_a_copy_of_much_is_not_made() -> None:
    handler = handler_of(Stack().append(torch.nn.Linear(4, 20_000_000, bias=False, device="meta")))
    handler.model[-1] = torch.nn.Identity()
    handler.model.spare = torch.nn.Parameter(torch.empty(1).expand(70_000_000))
    assert accelerate(handler, {}, 1)["freeze"] == "as loaded: a copy of its 267 MiB of weights would be too large"


@pytest.mark.parametrize(
    ("seconds", "faster", "chosen", "note"),
    [
        (0.02, 1.8, 2, "2: measured 1.80 for 1 and 1.80 for 4 times as fast"),
        (0.02, 1.2, 1, "1: 2 is measured 1.20 for 1 and 1.20 for 4 times as fast"),
        (0.02, 0.1, 1, "1: 2 is measured 0.10 for 1 and 0.10 for 4 times as fast"),
        (0.001, 1.8, 1, "1: a row takes 1.0 ms, so the front needs its core"),
    ],
)
@pytest.mark.usefixtures("two_cores")
def test_a_heavy_model_computes_with_the_whole_share(seconds: float, faster: float, chosen: int, note: str) -> None:
    _, told = measured({PLAIN: seconds, MERGED: seconds}, faster, channelsLast=False, freeze=False)
    assert (told["threads"], torch.get_num_threads()) == (note, chosen)


@pytest.mark.usefixtures("two_cores")
def test_a_lone_row_for_which_two_threads_are_slower_gets_one() -> None:
    handler, told = measured({PLAIN: 0.02}, 1.8, 0.7, channelsLast=False, freeze=False)
    assert told["threads"] == "2: measured 0.70 for 1 and 1.80 for 4 times as fast, run from 2 on"
    taken: list[float] = []
    for rows in (1, 2, 1, 3):
        with Ticking({PLAIN: 0.02}, faster=2.0, alone=0.5) as clock:
            handler.inference(torch.rand(rows, 3, 8, 8))
            taken.append(clock())
    assert taken == pytest.approx([0.02, 0.02, 0.02, 0.03])


@pytest.mark.usefixtures("two_cores")
def test_threads_that_are_said_stay(monkeypatch) -> None:
    monkeypatch.delenv("TS_WORKER_CORES")
    _, told = measured({PLAIN: 0.02}, 1.8)
    assert (told["threads"], torch.get_num_threads()) == ("1", 1)


@pytest.mark.parametrize(
    ("net", "why"), [(Strided, "channels last changes the answers"), (Viewed, "channels last fails: RuntimeError")]
)
def test_another_answer_is_too_high_a_price(net: type[Net], why: str) -> None:
    model = net(Clock())
    assert notes(model)["memory format"].startswith(f"as the model has it: {why}")
    assert not model.is_last
    assert model(torch.ones(2, 3, 8, 8)).shape[0] == 2


@pytest.mark.parametrize(
    ("each", "batch_size", "warmed"),
    [
        (0.01, 1, "batches of 1 in 0.0 s"),
        (0.01, 8, "batches of 1, 2, 4, 8 in 0.2 s"),
        (0.01, 6, "batches of 1, 2, 4, 6 in 0.1 s"),
        (0.4, 8, "batches of 1, 8 in 4.0 s"),
        (0.7, 8, "batches of 1, 2 in 2.8 s"),
        (3.0, 8, "batches of 1 in 6.0 s"),
    ],
)
def test_the_batches_that_will_come_are_run_before(each: float, batch_size: int, warmed: str) -> None:
    model = Net(Clock(), each)
    assert notes(model, batch_size, channelsLast=False, freeze=False)["warm-up"] == warmed
    assert set(map(str, model.ran)) == set(warmed.removeprefix("batches of ").partition(" in")[0].split(", "))


def test_a_script_is_run_until_it_is_optimized() -> None:
    script = torch.jit.trace(torch.nn.Conv2d(3, 4, 3).eval(), torch.ones(1, 3, 8, 8))
    told = accelerate(handler_of(script), {"freeze": False}, 2)
    assert told["warm-up"].startswith("batches of 1, 2 in")
    assert "memory format" in told


def test_a_compiled_model_has_longer_and_keeps_its_format() -> None:
    model = Net(Clock(), 5.0)
    model._orig_mod = None
    told = notes(model, 2)
    assert told["warm-up"] == "batches of 1, 2 in 20.0 s"
    assert "memory format" not in told


def test_nothing_of_it_is_seen_afterwards(monkeypatch) -> None:
    model = Random(Clock())
    handler = handler_of(model, handler={"profile": True})
    context, metrics = handler.context, handler.context.metrics
    torch.manual_seed(7)
    random.seed(7)
    accelerate(handler, {}, 4, model.clock)
    assert model.ran
    assert handler.context is context
    assert metrics.take() == ()
    assert model.seen.item() == 0
    here = (random.random(), torch.rand(1).item())
    torch.manual_seed(7)
    random.seed(7)
    assert here == (random.random(), torch.rand(1).item())


class Broken(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")


def test_a_model_that_can_not_be_warmed_up_is_served_all_the_same() -> None:
    handler = handler_of(Broken(Clock()))
    context = handler.context
    assert accelerate(handler, {}, 4)["warm-up"] == "failed: OutOfMemoryError: no room"
    assert handler.context is context


class OwnPreprocess(Small):
    def preprocess(self, data: Any) -> Any:
        return data


class OwnInference(Small):
    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        return data


class OwnHandle(Small):
    def handle(self, data: Any, context: Any) -> Any:
        return data


class Unprepared(Small):
    def __init__(self) -> None:
        """Without its base's, as careless handlers have it."""


class NoPicture(Small):
    image_processing = staticmethod(lambda image: [1, 2])


@pytest.mark.parametrize("cls", [BaseHandler, OwnPreprocess, OwnInference, OwnHandle, NoPicture])
def test_what_the_model_is_given_must_be_certain(cls: type) -> None:
    model = Net(Clock())
    assert list(notes(model, cls=cls)) == ["threads"]
    assert model.ran == []


@pytest.mark.parametrize(
    ("config", "told", "ran", "last"),
    [
        ({"warmUp": False}, set(), False, False),
        ({"warmUp": False, "channelsLast": True}, {"memory format"}, False, True),
        ({"channelsLast": True}, {"freeze", "memory format", "warm-up"}, True, True),
        ({"channelsLast": False}, {"freeze", "warm-up"}, True, False),
        ({"freeze": False}, {"memory format", "warm-up"}, True, True),
        (
            {"channelsLast": "perhaps", "warmUp": "perhaps", "freeze": "perhaps"},
            {"freeze", "memory format", "warm-up"},
            True,
            True,
        ),
    ],
)
def test_switches(config: dict[str, Any], told: set[str], ran: bool, last: bool) -> None:
    model = Net(Clock())
    assert set(notes(model, **config)) - {"threads"} == told
    assert (bool(model.ran), model.is_last) == (ran, last)


def test_the_yaml_may_name_a_shape() -> None:
    model = Net(Clock())
    assert "warm-up" in notes(model, cls=BaseHandler, warmUp=[3, 9, 9])
    assert model.ran
    assert list(notes(model, cls=OwnInference, warmUp=[3, 9, 9])) == ["threads"]


def test_the_ranks_of_one_model_are_left_alone(monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    model = Net(Clock())
    assert list(notes(model)) == ["threads"]
    assert model.ran == []


def test_a_handler_that_has_not_loaded_anything() -> None:
    assert list(accelerate(Unprepared(), {}, 1)) == ["threads"]
    assert list(accelerate(handler_of(None), {"channelsLast": True}, 1)) == ["threads"]


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_a_device_may_be_its_name(device: Any) -> None:
    model = Net(Clock())
    assert "warm-up" in accelerate(handler_of(model, device=device), {}, 1, model.clock)
    assert model.is_last


def test_what_is_asked_for_by_name_needs_no_example() -> None:
    model = Net(Clock())
    told = notes(model, cls=OwnPreprocess, channelsLast=True)
    assert (model.is_last, "memory format" in told, model.ran) == (True, True, [])


def test_micro_batches_are_what_comes() -> None:
    model = Net(Clock())
    handler = handler_of(model)
    handler.handle = MicroBatching(handler, 2)
    accelerate(handler, {}, 64, model.clock)
    handler.handle.shutdown()
    assert max(model.ran) == 2
