"""The machine's metrics: what psutil and NVML say, and that nothing stops them for good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import psutil
import pytest

from torchserve.core.container_limits import MemoryLimit
from torchserve.core.metrics.store import HOST, MetricStore
from torchserve.core.metrics.system import SystemSampler, measure_host, measure_memory, of_gpus
from torchserve.scheduler.devices import Gpu

GIB = 1 << 30
FIRST = Gpu(0, "GPU-a", "x", 80 * GIB, 20 * GIB, 2, 35.0)
SECOND = Gpu(1, "GPU-b", "x", 80 * GIB, 80 * GIB, 2, 0.0)


def values(store: MetricStore, *names: str) -> list[str]:
    lines = store.render(names).decode().splitlines()
    return [line.replace(HOST, "vm") for line in lines if not line.startswith("#")]


async def no_gpu() -> tuple[Gpu, ...]:
    return ()


def test_the_host_is_measured_under_torchserves_names() -> None:
    found = dict(measure_host())
    assert found.keys() == {
        "CPUUtilization", "MemoryUsed", "MemoryAvailable", "MemoryUtilization", "DiskUsage", "DiskAvailable",
        "DiskUtilization",
    }  # fmt: skip
    megabytes = psutil.virtual_memory().total / 2**20
    assert 0 < found["MemoryUsed"] + found["MemoryAvailable"] <= megabytes * 1.05
    disk = psutil.disk_usage("/")
    assert found["DiskUsage"] + found["DiskAvailable"] == pytest.approx((disk.used + disk.free) / 2**30, rel=0.01)
    assert all(0 <= found[name] <= 100 for name in found if name.endswith("Utilization"))


def test_gpus() -> None:
    silent = Gpu(2, "MIG-c", "x", 0, 0, 3)
    assert list(of_gpus([FIRST, silent])) == [
        ("0", "GPUMemoryUtilization", 75.0), ("0", "GPUMemoryUsed", 60 * 1024.0),
        ("0", "torchserve_gpu_memory_used_bytes", 60 * GIB), ("0", "torchserve_gpu_memory_total_bytes", 80 * GIB),
        ("0", "GPUUtilization", 35.0), ("0", "torchserve_gpu_utilization_ratio", 0.35),
    ]  # fmt: skip


async def test_a_gpu_that_is_lost_is_shown_no_more() -> None:
    store = MetricStore()
    seen: list[tuple[Gpu, ...]] = [(FIRST, SECOND), (SECOND,), (FIRST,)]

    async def gpus() -> Iterable[Gpu]:
        return seen.pop(0)

    sampler = SystemSampler(store, gpus, list)
    shown, own = [], []
    for _ in range(3):
        await sampler.sample()
        shown.append(values(store, "GPUMemoryUsed"))
        own.append(values(store, "torchserve_gpu_memory_used_bytes"))
    assert shown == [
        [
            'GPUMemoryUsed{Level="Host",DeviceId="0",Hostname="vm",} 61440.0',
            'GPUMemoryUsed{Level="Host",DeviceId="1",Hostname="vm",} 0.0',
        ],
        ['GPUMemoryUsed{Level="Host",DeviceId="1",Hostname="vm",} 0.0'],
        ['GPUMemoryUsed{Level="Host",DeviceId="0",Hostname="vm",} 61440.0'],
    ]
    first, second = (f'torchserve_gpu_memory_used_bytes{{gpu="{number}",}} ' for number in (0, 1))
    assert own == [[f"{first}6.442450944E10", f"{second}0.0"], [f"{second}0.0"], [f"{first}6.442450944E10"]]


async def test_what_goes_wrong_is_named_once_and_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    store = MetricStore()
    done = asyncio.Event()
    left = [1.0, OSError("no /proc"), OSError("no /proc"), 4.0, OSError("again"), 6.0]

    def host() -> list[tuple[str, float]]:
        value = left.pop(0)
        if isinstance(value, Exception):
            raise value
        return [("CPUUtilization", value)]

    async def gpus() -> Iterable[Gpu]:
        if not left:
            done.set()
            raise TimeoutError("the driver hangs")
        return ()

    task = asyncio.create_task(SystemSampler(store, gpus, host).run(0.0))
    await asyncio.wait_for(done.wait(), 30)
    await asyncio.sleep(0)
    task.cancel()
    assert values(store, "CPUUtilization") == ['CPUUtilization{Level="Host",Hostname="vm",} 6.0']
    assert caplog.messages[:3] == [
        "System metrics are incomplete: OSError: no /proc",
        "System metrics are incomplete: OSError: again",
        "System metrics are incomplete: TimeoutError: the driver hangs",
    ]


async def test_the_true_host() -> None:
    store = MetricStore()
    await SystemSampler(store, no_gpu).sample()
    assert all(
        len(values(store, name)) == 1 for name in ("CPUUtilization", "MemoryUsed", "DiskUsage", "DiskUtilization")
    )
    assert values(store, "GPU*") == []


def test_in_a_container_with_a_memory_limit_the_figures_are_the_containers() -> None:
    assert dict(measure_memory(MemoryLimit(limit=200 << 20, used=50 << 20))) == {
        "MemoryAvailable": 150.0,
        "MemoryUsed": 50.0,
        "MemoryUtilization": 25.0,
    }
    assert dict(measure_memory(MemoryLimit(100, 150)))["MemoryAvailable"] == 0.0
    host = psutil.virtual_memory().total
    for none in (None, MemoryLimit(host, 1), MemoryLimit(2 * host, 1), MemoryLimit(0, 1)):
        assert dict(measure_memory(none))["MemoryUsed"] > 1.0, "the host's"
