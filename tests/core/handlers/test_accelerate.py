"""accelerate: what it chooses for models whose speed is made up, and what nobody may notice of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torchvision import transforms

from torchserve.core.handlers import accelerate as acceleration
from torchserve.core.handlers.alike import alike
from torchserve.core.handlers.accelerate import accelerate
from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.context import Context
from torchserve.core.handlers.image_classifier import ImageClassifier
from torchserve.core.handlers.micro_batching import MicroBatching


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Net(torch.nn.Module):
    """Takes so many seconds a row, laid out one way or the other, and counts its rows."""

    def __init__(self, clock: Clock, plain: float = 0.02, last: float = 0.01) -> None:
        super().__init__()
        self.clock = clock
        self.plain, self.last = plain, last
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.register_buffer("seen", torch.zeros(1))
        self.ran: list[int] = []
        self.eval()

    @property
    def is_last(self) -> bool:
        return self.conv.weight.is_contiguous(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.ran.append(len(x))
        self.seen += len(x)
        self.clock.now += len(x) * (self.last if self.is_last else self.plain)
        return self.made(self.conv(x))

    def made(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


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


class Small(ImageClassifier):
    image_processing = transforms.Compose([transforms.CenterCrop(8), transforms.ToTensor()])


def handler_of(model: Any, cls: type = Small, device: Any = "cpu", **config: Any) -> Any:
    made = cls()
    made.model, made.device = model, device
    made.context = Context("m", "/", {"model": {}}, 1, None, "0", model_yaml_config=config)
    return made


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
        (0.4, 8, "batches of 1, 2 in 1.6 s"),
        (2.0, 8, "batches of 1 in 4.0 s"),
    ],
)
def test_the_batches_that_will_come_are_run_before(each: float, batch_size: int, warmed: str) -> None:
    model = Net(Clock(), each)
    assert notes(model, batch_size, channelsLast=False)["warm-up"] == warmed
    assert set(map(str, model.ran)) == set(warmed.removeprefix("batches of ").partition(" in")[0].split(", "))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_script_is_run_until_it_is_optimized() -> None:
    script = torch.jit.trace(torch.nn.Conv2d(3, 4, 3).eval(), torch.ones(1, 3, 8, 8))
    told = accelerate(handler_of(script), {}, 2)
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
        ({"channelsLast": True}, {"memory format", "warm-up"}, True, True),
        ({"channelsLast": False}, {"warm-up"}, True, False),
        ({"channelsLast": "perhaps", "warmUp": "perhaps"}, {"memory format", "warm-up"}, True, True),
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


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        (torch.tensor([1.0, 1000.0]), torch.tensor([1.05, 1000.0]), True),
        (torch.tensor([1.0, 1000.0]), torch.tensor([1.0, 1000.2]), False),
        (torch.tensor([1.0]), torch.tensor([float("nan")]), False),
        (torch.tensor([1]), torch.tensor([2]), False),
        (torch.ones(2), torch.ones(3), False),
        ({"out": torch.ones(2)}, {"out": torch.ones(2)}, True),
        ({"out": torch.ones(2)}, {"in": torch.ones(2)}, False),
        ([{"boxes": torch.ones(2)}], [{"boxes": torch.zeros(2)}], False),
        ((torch.ones(1),), (torch.ones(1), torch.ones(1)), False),
        (torch.zeros(0), torch.zeros(0), True),
        (None, None, True),
        (1, "a", False),
    ],
)
def test_alike(found: Any, expected: Any, same: bool) -> None:
    assert alike(found, expected, torch.device("cpu")) == same
