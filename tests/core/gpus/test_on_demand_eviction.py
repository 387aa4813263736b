"""OnDemandEviction: which onDemand models go for a worker that finds no room, and which stay."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from torchserve.core.gpus.on_demand_eviction import PATIENCE, OnDemandEviction, Postponed, Room
from torchserve.scheduler.eviction import Resident

LATE = 1e12  # on the loop's clock


@dataclass(eq=False)
class Model:
    """An onDemand model; `left` has how it was told to leave, each time."""

    name: str
    idle: bool = True
    serves: bool = True
    wanted: bool = False
    stays_until: float = 0.0
    used: float = 0.0
    left: list[bool] = field(default_factory=list[bool])

    @property
    def workers(self) -> frozenset[str]:
        return frozenset({f"W-{self.name}"})

    async def leave(self, *, busy: bool, worker: str) -> None:
        assert worker.startswith("W-")
        self.left.append(busy)


async def everything(residents: list[Resident]) -> list[Resident] | None:
    """Room is found if any model goes; all of those given do."""
    return residents or None


async def nothing(_: list[Resident]) -> list[Resident] | None:
    return None


async def asked(
    models: list[Model], *, own: Model | None = None, waited: float = 0.0, helps: bool = True
) -> tuple[Room, list[tuple[str, bool]]]:
    """Return the outcome, and (name, busy) of each model that was ended, for a worker of `own` or of another model."""
    eviction = OnDemandEviction()
    for model in [*models, *([own] if own is not None else [])]:
        eviction.join(model)
    worker = f"W-{own.name}" if own is not None else "W-other"
    room = await eviction.make_room(worker, everything if helps else nothing, waited)
    assert own is None or own.left == []
    return room, [(model.name, busy) for model in models for busy in model.left]


M = Model
# a model that is not onDemand asks: what there is -> outcome, those that went
OF_OTHERS = [
    ("no model", [], Room.NONE, []),
    ("an idle one", [M("a")], Room.MADE, ["a"]),
    ("one that has only just come", [M("a", stays_until=LATE)], Room.MADE, ["a"]),
    ("a busy one", [M("a", idle=False)], Room.NONE, []),
    ("one that loads", [M("a", idle=False, serves=False)], Room.NONE, []),
    ("an idle one and a busy one", [M("a", idle=False), M("b")], Room.MADE, ["b"]),
]


@pytest.mark.parametrize(("models", "room", "gone"), [row[1:] for row in OF_OTHERS], ids=[row[0] for row in OF_OTHERS])
@pytest.mark.parametrize("waited", [0.0, PATIENCE])
async def test_for_a_model_that_is_not_on_demand(
    models: list[Model], room: Room, gone: list[str], waited: float
) -> None:
    fresh = [M(each.name, each.idle, each.serves, each.wanted, each.stays_until) for each in models]
    assert await asked(fresh, waited=waited) == (room, [(name, False) for name in gone])


# an onDemand model with requests asks: what there is, whether it has waited PATIENCE -> outcome, (who went, busy)
OF_ON_DEMAND = [
    ("no other model", [], False, Room.NONE, []),
    ("an idle one", [M("a")], False, Room.MADE, [("a", False)]),
    ("one that has only just come", [M("a", stays_until=LATE)], False, Room.COMING, []),
    ("one that has only just come, later", [M("a", stays_until=LATE)], True, Room.COMING, []),
    ("a busy one", [M("a", idle=False)], False, Room.COMING, []),
    ("a busy one, later", [M("a", idle=False)], True, Room.MADE, [("a", True)]),
    ("one that loads, later", [M("a", idle=False, serves=False)], True, Room.COMING, []),
    ("an idle one and a busy one, later", [M("a", idle=False), M("b")], True, Room.MADE, [("b", False)]),
]


@pytest.mark.parametrize(
    ("models", "late", "room", "gone"), [row[1:] for row in OF_ON_DEMAND], ids=[row[0] for row in OF_ON_DEMAND]
)
async def test_for_an_on_demand_model(
    models: list[Model], late: bool, room: Room, gone: list[tuple[str, bool]]
) -> None:
    fresh = [M(each.name, each.idle, each.serves, each.wanted, each.stays_until) for each in models]
    waited = PATIENCE if late else PATIENCE - 0.1
    assert await asked(fresh, own=M("own", idle=False, wanted=True), waited=waited) == (room, gone)


@pytest.mark.parametrize("own", [None, M("own", wanted=True)])
async def test_nobody_goes_if_it_would_not_help(own: Model | None) -> None:
    assert await asked([M("a")], own=own, waited=PATIENCE, helps=False) == (Room.NONE, [])


async def test_a_model_that_nobody_asks_for_is_postponed() -> None:
    idle = M("a")
    with pytest.raises(Postponed):
        await asked([idle], own=M("own", wanted=False))
    assert idle.left == []


async def test_only_those_that_are_chosen_go() -> None:
    async def first(residents: list[Resident]) -> list[Resident] | None:
        return sorted(residents, key=lambda each: each.used)[:1]

    models = [M("a", used=2.0), M("b", used=1.0)]
    eviction = OnDemandEviction()
    for model in models:
        eviction.join(model)
    assert await eviction.make_room("W-other", first, 0.0) is Room.MADE
    assert [model.left for model in models] == [[], [False]]


async def test_a_model_that_parts_is_left_alone() -> None:
    model, eviction = M("a"), OnDemandEviction()
    eviction.join(model)
    eviction.part(model)
    eviction.part(model)
    assert await eviction.make_room("W-other", everything, 0.0) is Room.NONE
    assert model.left == []


async def test_two_workers_at_once_end_a_model_once() -> None:
    class Leaving(Model):
        async def leave(self, *, busy: bool, worker: str) -> None:
            await super().leave(busy=busy, worker=worker)
            await asyncio.sleep(0)
            self.idle = self.serves = False  # it has gone

    model, eviction = Leaving("a"), OnDemandEviction()
    eviction.join(model)
    rooms = await asyncio.gather(*(eviction.make_room(f"W-{i}", everything, 0.0) for i in range(2)))
    assert rooms == [Room.MADE, Room.NONE]
    assert model.left == [False]
