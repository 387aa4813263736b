"""GPU placement through the whole server, on a stand-in for NVIDIA's driver library."""

from __future__ import annotations

from pathlib import Path

from ..standins.nvml import GIB, FakeNvml
from .conftest import Serve
from .handlers import PROBE
from .live import eventually, make_model


def places(server, model: str, workers: int) -> list[tuple[str | None, int | None]]:
    """(CUDA_VISIBLE_DEVICES, gpu_id) as each worker's handler sees them."""
    found: dict[int, tuple[str | None, int | None]] = {}

    def ask() -> bool:
        asked = [server.later(model, "sleep 0.05") for _ in range(2 * workers)]
        for each in asked:
            answer = each.result().json
            found[answer["pid"]] = (answer["visible"], answer["gpu_id"])
        return len(found) == workers

    eventually(ask)
    return sorted(found.values(), key=str)


def test_each_worker_goes_to_the_gpu_with_the_most_free_memory(serve: Serve, store: Path, fake_nvml: FakeNvml):
    fake_nvml.set({"0.uuid": "GPU-aaaa", "1.uuid": "GPU-bbbb", "0.used": 60 * GIB})
    make_model(store, "probe", PROBE)
    server = serve("probe", env=fake_nvml.env)
    server.ready("probe")
    assert places(server, "probe", 1) == [("GPU-bbbb", 0)]
    fake_nvml.set({"0.used": 0, "1.used": 70 * GIB})
    assert server.manage("PUT", "/models/probe?min_worker=2&synchronous=true").status == 200
    assert places(server, "probe", 2) == [("GPU-aaaa", 0), ("GPU-bbbb", 0)]
    described = server.manage("GET", "/models/probe").json[0]
    assert described["deviceType"] == "gpu"
    assert {worker["gpu"] for worker in described["workers"]} == {True}


def test_equals_are_taken_in_turn_and_one_worker_per_gpu_is_the_default(serve: Serve, store: Path, fake_nvml: FakeNvml):
    fake_nvml.set({"0.uuid": "GPU-aaaa", "1.uuid": "GPU-bbbb"})
    make_model(store, "probe", PROBE, config="batchSize: 1\n")
    server = serve("probe", env=fake_nvml.env, properties="default_workers_per_model=0")
    server.ready("probe", workers=2)
    assert places(server, "probe", 2) == [("GPU-aaaa", 0), ("GPU-bbbb", 0)]


def test_what_config_says_about_devices_is_honoured(serve: Serve, store: Path, fake_nvml: FakeNvml):
    fake_nvml.set({"0.uuid": "GPU-aaaa", "1.uuid": "GPU-bbbb", "1.used": 70 * GIB})
    one = "minWorkers: 1\nmaxWorkers: 1\n"
    make_model(store, "second", PROBE, config=one + "deviceIds: [1]\n")
    make_model(store, "cpu", PROBE, config=one + "deviceType: cpu\n")
    make_model(store, "nowhere", PROBE, config=one + "deviceIds: [7]\nmaxRetryTimeoutInSec: 1\n")
    server = serve("second", "cpu", env=fake_nvml.env)
    server.ready("second")
    server.ready("cpu")
    assert places(server, "second", 1) == [("GPU-bbbb", 0)]
    assert places(server, "cpu", 1) == [(None, None)]
    refused = server.manage("POST", "/models?url=nowhere")
    assert refused.status == 500
    assert "device id 7 does not exist; there are: 0, 1" in refused.message


def test_number_of_gpu_0_and_a_missing_driver_mean_cpu(serve: Serve, store: Path, fake_nvml: FakeNvml):
    make_model(store, "probe", PROBE)
    server = serve("probe", env=fake_nvml.env, properties="number_of_gpu=0")
    server.ready("probe")
    assert places(server, "probe", 1) == [(None, None)]
    assert server.stop() == 0
    fake_nvml.set({"count": None})
    server = serve("probe", env=fake_nvml.env)
    server.ready("probe")
    assert places(server, "probe", 1) == [(None, None)]
    assert server.manage("GET", "/models/probe").json[0]["deviceType"] == "cpu"


def test_a_lost_gpu_takes_no_worker(serve: Serve, store: Path, fake_nvml: FakeNvml):
    fake_nvml.set({"0.uuid": "GPU-aaaa", "1.uuid": "GPU-bbbb"})
    fake_nvml.lose(0)
    make_model(store, "probe", PROBE, config="minWorkers: 2\nmaxWorkers: 2\n")
    server = serve("probe", env=fake_nvml.env)
    server.ready("probe", workers=2)
    assert places(server, "probe", 2) == [("GPU-bbbb", 0), ("GPU-bbbb", 0)]
