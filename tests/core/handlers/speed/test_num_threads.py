"""NumThreads: how many threads a model gets while it works, on a machine whose speed is made up."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.context import Context
from torchserve.core.handlers.speed.accelerate import accelerate
from torchserve.core.handlers.speed.num_threads import NumThreads

ELEMENT = 0.001  # seconds that one takes on one thread


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Machine:
    """The clock, and a model that takes time by its elements: `faster` times less with two threads."""

    def __init__(self, faster: float, element: float = ELEMENT) -> None:
        self.now = 100.0
        self.faster, self.element = faster, element

    def __call__(self) -> float:
        return self.now

    def model(self, data: torch.Tensor) -> torch.Tensor:
        self.now += data.numel() * self.element / (self.faster if torch.get_num_threads() == 2 else 1.0)
        return data


def work(cores: NumThreads, machine: Machine, batches: int = 400, longest: int = 1) -> list[int]:
    """The threads after each of so many batches of two rows, ten elements each, or up to `longest` times as many."""
    lengths, seen = random.Random(3), []
    for _ in range(batches):
        cores.run(machine.model, torch.ones(2, 10 * lengths.randint(1, longest)))
        seen.append(torch.get_num_threads())
    return seen


def test_a_core_is_taken_and_given_back_as_others_come_and_go() -> None:
    machine = Machine(1.8)
    cores = NumThreads(1, 2, machine)
    ends = []
    for faster in (1.8, 0.5, 1.2, 1.3):
        machine.faster = faster
        seen = work(cores, machine)
        ends.append(seen[-1])
        assert sum(one != other for one, other in itertools.pairwise(seen)) <= 1
    assert ends == [2, 1, 1, 2]


@pytest.mark.parametrize(
    ("faster", "element", "longest", "threads"),
    [(1.8, ELEMENT, 1, 2), (1.8, ELEMENT, 12, 2), (1.2, ELEMENT, 12, 1), (0.3, ELEMENT, 1, 1), (1.8, 0.00015, 1, 1)],
)
def test_what_nobody_measured_is_measured_at_work(faster: float, element: float, longest: int, threads: int) -> None:
    """1.5 ms a row are too little to take the front's core for."""
    machine = Machine(faster, element)
    assert work(NumThreads(1, 2, machine, measured=False), machine, longest=longest)[-1] == threads


class Worked:
    """A model whose time is not that of its elements: it says itself how much it has computed."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.work = machine, 0
        self.draw = random.Random(5)

    def __call__(self, data: torch.Tensor) -> torch.Tensor:
        self.work = self.draw.choice((0, 20, 25, 200))
        self.machine.model(torch.ones(self.work or 500))
        return data


@pytest.mark.parametrize(("faster", "threads"), [(1.8, 2), (1.1, 1)])
def test_a_model_that_says_how_much_it_computed_is_compared_by_that(faster: float, threads: int) -> None:
    machine = Machine(faster)
    cores, model = NumThreads(1, 2, machine, measured=False), Worked(machine)
    for _ in range(2000):
        cores.run(model, torch.ones(2, 10))
    assert torch.get_num_threads() == threads


def test_two_threads_that_make_rows_light_can_be_given_back() -> None:
    machine = Machine(1.8, 0.0003)
    cores = NumThreads(1, 2, machine, measured=False)
    assert work(cores, machine)[-1] == 2
    machine.faster = 0.5
    assert work(cores, machine, 4000)[-1] == 1


def test_one_measured_within_seconds() -> None:
    machine = Machine(1.8)
    cores = NumThreads(1, 2, machine, measured=False)
    while torch.get_num_threads() == 1:
        work(cores, machine, 1)
    assert machine.now < 102.0


def test_a_try_that_fails_changes_nothing() -> None:
    def broken(data: torch.Tensor) -> None:
        raise ValueError(data)

    machine = Machine(1.8)
    cores = NumThreads(1, 2, machine)
    work(cores, machine, 1)
    machine.now = 110.0
    with pytest.raises(ValueError):
        cores.run(broken, torch.ones(2, 10))
    assert torch.get_num_threads() == 1


def test_short_batches_are_left_to_few_threads_and_are_no_measurement() -> None:
    machine = Machine(1.8)
    cores, seen = NumThreads(1, 2, machine), list[int]()

    def model(data: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return machine.model(data)

    cores.use(2)
    cores.least = 2
    for _ in range(400):
        cores.run(model, torch.ones(1, 10))
        assert torch.get_num_threads() == 2
    assert set(seen) == {1}
    cores.run(model, torch.ones(2, 10))
    assert seen[-1] == 2
    machine.faster = 0.5
    assert work(cores, machine)[-1] == 1
    cores.run(model, torch.ones(1, 10))
    assert torch.get_num_threads() == seen[-1] == 1


class Own(BaseHandler):
    """What its preprocessing makes of a request nobody knows."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model, self.device = model, torch.device("cpu")

    def preprocess(self, data: list[dict[str, torch.Tensor]]) -> torch.Tensor:
        return data[0]["body"]


class OwnInference(Own):
    def inference(self, data: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return self.model(data)


@pytest.mark.parametrize(
    ("kind", "cores", "note"),
    [
        (Own, "2", "1 at first: at work it is measured whether 2 are faster"),
        (Own, "1", "1"),
        (Own, "", "1"),
        (OwnInference, "2", "1"),
    ],
)
def test_a_handler_of_its_own_has_its_threads_measured_at_work(kind: type[Own], cores: str, note: str, monkeypatch):
    machine = Machine(1.8)
    net = torch.nn.Identity()
    net.forward = machine.model
    handler = kind(net)
    if cores:
        monkeypatch.setenv("TS_WORKER_CORES", cores)
    assert accelerate(handler, {}, 4, machine)["threads"] == note
    told: list[dict[str, str]] = []
    handler.context = Context("m", "/", {"model": {}}, 1, None, "0")
    handler.context.tell_notes = lambda notes: told.append(dict(notes))
    for _ in range(200):
        handler.inference(torch.ones(2, 10))
    assert torch.get_num_threads() == (2 if note.startswith("1 at") else 1)
    assert told == ([{"threads": "2: at work measured 1.80 times as fast as 1"}] if note.startswith("1 at") else [])
