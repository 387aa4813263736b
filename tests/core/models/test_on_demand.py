"""OnDemandModel: what eviction sees of a model, and its way back."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from torchserve.core.models.on_demand import NOT_LOADED, STARTING, UNLOADED, OnDemandModel
from torchserve.core.workers.outages import Outages

from ..doubles import until

WAITS: list[float] = []


class Pool:
    """A pool of one worker; the first `postponed` reloads leave it unloaded."""

    def __init__(self) -> None:
        self.slots = self.workers = [SimpleNamespace(name="W-1")]
        self.ready, self.ready_since, self.unloaded = 1, 5.0, False
        self.reloads, self.postponed = 0, 0
        self.outages = Outages()
        self.outages.began(self)

    async def unload(self, agreed: Callable[[], bool]) -> None:
        if agreed():
            self.unload_now()

    def unload_now(self) -> None:
        self.unloaded = True
        self.outages.ended(self)

    async def reload(self) -> None:
        self.reloads += 1
        self.unloaded = self.reloads <= self.postponed
        if not self.unloaded:
            self.outages.began(self)


def subject(queued: int = 0, running: int = 0) -> tuple[OnDemandModel, Pool, SimpleNamespace]:
    pool, scheduler = Pool(), SimpleNamespace(queued=queued, running=running)
    return OnDemandModel("m", cast("Any", scheduler), cast("Any", pool), 7.0, WAITS.append), pool, scheduler


@pytest.mark.parametrize(
    ("queued", "running", "ready", "seen"),
    [  # wanted, serves, idle
        (0, 0, 1, (False, True, True)),
        (1, 0, 1, (True, True, False)),
        (0, 1, 1, (False, True, False)),
        (0, 0, 0, (False, False, False)),
    ],
)
async def test_what_eviction_sees(queued: int, running: int, ready: int, seen: tuple[bool, ...]) -> None:
    model, pool, _ = subject(queued, running)
    pool.ready = ready
    assert (model.wanted, model.serves, model.idle) == seen
    assert (model.workers, model.stays_until) == ({"W-1"}, 12.0)


@pytest.mark.parametrize(("running", "busy", "gone"), [(0, False, True), (1, False, False), (1, True, True)])
async def test_a_busy_model_goes_only_if_it_must(running: int, busy: bool, gone: bool) -> None:
    model, pool, _ = subject(running=running)
    await model.leave(busy=busy, worker="W-2")
    assert pool.unloaded is gone
    assert pool.reloads == 0


async def test_what_waits_brings_it_back_though_its_load_is_postponed_at_first() -> None:
    model, pool, _ = subject(queued=1)
    pool.postponed = 2
    await model.leave(busy=True, worker="W-2")
    await until(lambda: not pool.unloaded)
    assert pool.reloads == 3


async def test_requests_that_come_together_bring_it_back_once() -> None:
    model, pool, _ = subject()
    pool.unload_now()
    for _ in range(3):
        model.called()
    await until(lambda: not pool.unloaded)
    assert pool.reloads == 1
    assert model.used > 0
    model.stop()


async def test_it_tells_of_its_loads_and_why(caplog: pytest.LogCaptureFixture) -> None:
    model, pool, scheduler = subject(queued=2)
    assert (model.cause, model.described()) == (STARTING, {"status": "READY", "loads": 0})
    pool.postponed = 1
    with caplog.at_level("INFO"):
        await model.leave(busy=True, worker="W-9000-other")
        assert model.cause == UNLOADED
        assert model.described() == {"status": "UNLOADED", "loads": 0, "unloadedFor": "W-9000-other"}
        model.called()
        await until(lambda: model.loads)
    (told,) = [record.getMessage() for record in caplog.records if "serves after" in record.getMessage()]
    assert told.endswith(
        "in which 3 requests waited for it: it had been unloaded, since W-9000-other needed its GPU memory"
    )
    described = model.described()
    assert (described["status"], described["loads"], described["lastLoadCause"]) == ("READY", 1, UNLOADED)
    assert described["lastLoadMs"] >= 0
    pool.outages.ended(pool)  # its worker has died, and is started anew
    assert model.cause == STARTING
    assert model.described()["status"] == "LOADING"
    scheduler.queued = 0
    model.stop()


async def test_a_first_load_has_a_cause_of_its_own() -> None:
    model, pool, _ = subject()
    pool.unload_now()
    model.called()
    await until(lambda: model.loads)
    assert model.cause == NOT_LOADED
