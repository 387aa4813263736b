"""GpuProbe: the process that asks a stand-in driver, its death, its silence, and the GPUs that are sick."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import pytest

from torchserve.core.gpus import gpu_probe
from torchserve.core.gpus.gpu_probe import GpuProbe

from ...standins.nvml import GIB, FakeNvml


@pytest.fixture
async def probe(fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GpuProbe]:
    for name, value in fake_nvml.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpu_probe, "_has_library", lambda: True)
    made = GpuProbe()
    yield made
    await made.close()


async def sick(probe: GpuProbe) -> list[str]:
    return [gpu.sick for gpu in await probe.gpus()]


async def test_it_tells_the_gpus_as_they_are_now(probe: GpuProbe, fake_nvml: FakeNvml) -> None:
    assert [(gpu.index, gpu.total // GIB, gpu.free // GIB) for gpu in await probe.gpus()] == [(0, 80, 80), (1, 80, 80)]
    fake_nvml.set({"1.used": 30 * GIB, "1.processes": f"7:{GIB}"})
    _, second = await probe.gpus()
    assert (second.free // GIB, second.processes) == (50, {7: GIB})


@pytest.mark.parametrize(("xid", "is_sick"), [(79, True), (13, False)])
async def test_a_fatal_xid_is_remembered(probe: GpuProbe, fake_nvml: FakeNvml, xid: int, is_sick: bool) -> None:
    assert await sick(probe) == ["", ""]
    fake_nvml.set({"xid": f"1:0:{xid}"})
    for _ in range(2):
        found = await sick(probe)
        assert [bool(reason) for reason in found] == [is_sick, False]


async def test_ecc_errors_count_from_the_start(probe: GpuProbe, fake_nvml: FakeNvml) -> None:
    fake_nvml.set({"0.ecc": 3})
    assert await sick(probe) == ["", ""]
    fake_nvml.set({"0.ecc": 5})
    assert await sick(probe) == ["2 uncorrected ECC errors since the start", ""]


async def test_a_process_that_was_killed_is_replaced(probe: GpuProbe) -> None:
    await probe.gpus()
    assert probe._process is not None
    os.kill(probe._process.pid, signal.SIGKILL)
    assert len(await probe.gpus()) == 2


async def test_a_silent_driver_is_a_timeout_and_asked_anew(
    probe: GpuProbe, fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as short:
        short.setattr(gpu_probe, "TIMEOUT", 0.2)
        fake_nvml.set({"0.hang": 1})
        with pytest.raises(TimeoutError):
            await probe.gpus()
    fake_nvml.set({"0.hang": None})
    monkeypatch.setattr(gpu_probe, "TIMEOUT", 60.0)
    assert len(await probe.gpus()) == 2


async def test_without_the_library_no_process_is_started(probe: GpuProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_probe, "_has_library", lambda: False)
    assert await probe.gpus() == ()
    assert probe._process is None
