"""GpuAllocator: each state of a request to place a worker, with a probe that says what the test wants, and real leases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from torchserve.core.config.model_options import ModelOptions
from torchserve.core.gpus.gpu_allocator import GpuAllocator, PlacementRequest
from torchserve.core.gpus.gpu_probe import GpuProbe
from torchserve.scheduler.errors import NoRoom
from torchserve.scheduler.gpu import Gpu

from ..doubles import until

GIB = 1 << 30


class Probe:
    """A driver with two GPUs of 80 GiB, or what the test sets."""

    def __init__(self) -> None:
        self.now = [Gpu(index, f"GPU-{index}", "Fake", 80 * GIB, 80 * GIB, 2) for index in range(2)]
        self.looks = 0
        self.silent = False

    async def gpus(self) -> tuple[Gpu, ...]:
        self.looks += 1
        if self.silent:
            raise TimeoutError
        return tuple(self.now)

    async def close(self) -> None: ...

    def change(self, index: int, **values: Any) -> None:
        self.now[index] = replace(self.now[index], **values)


class Host:
    """An allocator on that host."""

    def __init__(self, home: Path, limit: int | None = None, interval: float = 3600.0, headroom: int = 0) -> None:
        self.leases, self.probe = home / "leases", Probe()
        self.folder = home / "model"
        self.folder.mkdir(exist_ok=True)
        self.allocator = GpuAllocator(
            limit, headroom=headroom, interval=interval, leases=self.leases, footprints=home / "footprints.json"
        )
        self.allocator._probe = cast("GpuProbe", self.probe)  # no driver is asked
        self.lost: list[str] = []

    async def allocate(self, worker: str = "W-1", gib: int = 10, **options: Any) -> list[int]:
        options = {"gpu_memory": gib * GIB} | options
        request = PlacementRequest(worker, "m", self.folder, ModelOptions(**options))
        return [gpu.index for gpu in await self.allocator.allocate(request)]

    async def settled(self, worker: str = "W-1", pid: int = 7) -> None:
        await self.allocator.settled(worker, [pid], self.lost.append)

    def written(self) -> list[tuple[str, str, int, int, bool]]:
        """What other servers read: (GPU, worker, GiB promised, GiB held, loading)."""
        return [
            (each["uuid"], each["worker"], each["need"] // GIB, each["held"] // GIB, each["loading"])
            for file in self.leases.glob("*.leases")
            for each in json.loads(file.read_text())["leases"]
        ]


@pytest.fixture
async def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    monkeypatch.setattr("torchserve.core.gpus.gpu_allocator._RETRY", 0.005)
    made = Host(tmp_path)
    yield made
    await made.allocator.close()
    assert [path.name for path in made.leases.glob("*.leases")] == []


@pytest.mark.parametrize(
    ("limit", "gpus", "options"),
    [(None, 2, {"device_type": "cpu"}), (None, 0, {}), (None, 0, {"device_type": "gpu"}), (0, 2, {})],
)
async def test_it_runs_on_the_cpu(tmp_path: Path, limit: int | None, gpus: int, options: dict[str, str]) -> None:
    host = Host(tmp_path, limit)
    host.probe.now = host.probe.now[:gpus]
    assert await host.allocate(**options) == []
    assert not host.leases.exists()
    await host.allocator.close()


PLACED = [
    ("the first of equal ones", {}, {}, [0]),
    ("the one with more room", {0: {"free": 20 * GIB}}, {}, [1]),
    ("one that it may have", {}, {"device_ids": [1]}, [1]),
    ("not a sick one", {0: {"sick": "XID 79"}}, {}, [1]),
]


@pytest.mark.parametrize(("changes", "options", "gpus"), [row[1:] for row in PLACED], ids=[row[0] for row in PLACED])
async def test_it_is_placed_and_others_see_the_promise(
    host: Host, changes: dict[int, dict[str, Any]], options: dict[str, Any], gpus: list[int]
) -> None:
    for index, values in changes.items():
        host.probe.change(index, **values)
    assert await host.allocate(**options) == gpus
    assert host.written() == [(f"GPU-{index}", "W-1", 10, 0, True) for index in gpus]
    host.allocator.release("W-1")
    assert host.written() == []


async def test_number_of_gpu_hides_the_rest(tmp_path: Path) -> None:
    host = Host(tmp_path, limit=1)
    host.probe.change(0, free=20 * GIB)
    assert await host.allocate() == [0]
    await host.allocator.close()


async def test_a_worker_waits_while_the_gpu_loads_another(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert await host.allocate("W-1", device_ids=[0]) == [0]
    second = asyncio.ensure_future(host.allocate("W-2", device_ids=[0]))
    before = host.probe.looks
    await until(lambda: host.probe.looks >= before + 3)
    assert not second.done()
    assert caplog.text.count("W-2 waits: ") == 1  # said once, however often it looks
    await host.settled("W-1")
    async with asyncio.timeout(60):
        assert await second == [0]
    assert [(row[1], row[4]) for row in host.written()] == [("W-1", False), ("W-2", True)]


async def test_no_room_is_refused_by_default(host: Host) -> None:
    with pytest.raises(NoRoom):
        await host.allocate(gib=81)
    assert host.written() == []


async def test_what_is_promised_and_the_headroom_are_no_room(tmp_path: Path) -> None:
    host = Host(tmp_path, headroom=2 * GIB)
    assert await host.allocate("W-1", gib=40, device_ids=[0]) == [0]
    await host.settled("W-1")
    with pytest.raises(NoRoom):
        await host.allocate("W-2", gib=39, device_ids=[0])
    assert await host.allocate("W-2", gib=38, device_ids=[0]) == [0]
    await host.allocator.close()


async def test_another_server_s_promises_count(host: Host, tmp_path: Path) -> None:
    other = Host(tmp_path)
    assert await other.allocate("W-1", gib=70, device_ids=[0]) == [0]
    assert await host.allocate("W-1", gib=70) == [1]
    await other.allocator.close()


async def test_no_room_is_the_cpu_instead(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    assert await host.allocate(gib=81, when_no_gpu_memory="cpu") == []
    assert "W-1 runs on the CPU: " in caplog.text
    assert host.written() == []


async def test_no_room_is_waited_for(host: Host) -> None:
    for index in range(2):
        host.probe.change(index, free=GIB)
    waiting = asyncio.ensure_future(host.allocate(when_no_gpu_memory="wait"))
    await until(lambda: host.probe.looks >= 4)
    assert not waiting.done()
    host.probe.change(1, free=80 * GIB)
    async with asyncio.timeout(60):
        assert await waiting == [1]


class OnDemand:
    """An idle onDemand model with the worker W-1, which gives its memory back when it leaves."""

    name, used, workers, stays_until = "resident", 0.0, frozenset({"W-1"}), 0.0
    wanted, serves, idle = False, True, True

    def __init__(self, host: Host) -> None:
        self.host, self.left = host, 0

    async def leave(self, *, busy: bool, worker: str) -> None:
        self.left += 1
        self.host.allocator.release("W-1")
        self.host.probe.change(0, free=80 * GIB)


async def test_an_on_demand_model_makes_room(host: Host) -> None:
    host.probe.now.pop()
    assert await host.allocate("W-1", gib=60) == [0]
    host.probe.change(0, free=20 * GIB, processes={7: 60 * GIB})
    await host.settled("W-1")
    resident = OnDemand(host)
    host.allocator.on_demand.join(resident)
    assert await host.allocate("W-2", gib=60) == [0]
    assert resident.left == 1
    assert [row[1] for row in host.written()] == ["W-2"]


@pytest.mark.parametrize(
    ("processes", "held", "promised"), [({7: 12 * GIB}, 12, 12), ({7: 4 * GIB}, 4, 10), ({99: GIB}, 9, 10)]
)
async def test_what_a_model_took_is_measured_and_remembered(
    host: Host, tmp_path: Path, processes: dict[int, int], held: int, promised: int
) -> None:
    """The pid is unknown to a driver outside the container: then the difference in free memory counts."""
    await host.allocate()
    host.probe.change(0, free=71 * GIB, processes=processes)
    await host.settled()
    assert host.written() == [("GPU-0", "W-1", promised, held, False)]
    assert list(json.loads((tmp_path / "footprints.json").read_text()).values()) == [held * GIB]


@pytest.mark.parametrize(("sick", "reason"), [("XID 79", "XID 79"), (None, "it does not answer")])
async def test_a_worker_is_told_once_that_its_gpu_is_lost(tmp_path: Path, sick: str | None, reason: str) -> None:
    host = Host(tmp_path, interval=0.005)
    await host.allocate()
    await host.settled()
    if sick is None:
        host.probe.now = host.probe.now[1:]
    else:
        host.probe.change(0, sick=sick)
    await until(lambda: host.lost)
    before = host.probe.looks
    await until(lambda: host.probe.looks >= before + 3)
    assert host.lost == [f"GPU 0 (GPU-0) is lost: {reason}"]
    await host.allocator.close()


async def test_a_silent_driver_loses_nobody(tmp_path: Path) -> None:
    host = Host(tmp_path, interval=0.005)
    await host.allocate()
    await host.settled()
    host.probe.silent = True
    before = host.probe.looks
    await until(lambda: host.probe.looks >= before + 4)
    assert host.lost == []
    with pytest.raises(TimeoutError):
        await host.allocate("W-2")
    await host.allocator.close()
