"""GPU memory through the whole server, on a stand-in for NVIDIA's driver library: promises, refusals, lost GPUs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..standins.nvml import GIB, FakeNvml
from .conftest import Serve
from .handlers import PROBE
from .live import eventually, make_model

ONE = "minWorkers: 1\nmaxWorkers: 1\nmaxRetryTimeoutInSec: 1\n"


@pytest.fixture
def host(fake_nvml: FakeNvml) -> FakeNvml:
    """Two GPUs of 80 GiB, whose leases and measurements are this test's own."""
    fake_nvml.set({"0.uuid": "GPU-aaaa", "1.uuid": "GPU-bbbb"})
    return fake_nvml


@pytest.fixture
def leases(tmp_path: Path) -> str:
    return f"gpu_lease_folder={tmp_path}/leases\ngpu_check_interval=1"


def promised(tmp_path: Path) -> list[tuple[str, int]]:
    """(GPU, GiB) of each worker of all servers."""
    files = [json.loads(path.read_text()) for path in (tmp_path / "leases").glob("*.leases")]
    return sorted((lease["uuid"], lease["need"] // GIB) for file in files for lease in file["leases"])


def gpu_of(server, model: str) -> str | None:
    return server.predict(model, "pid").json["visible"]


def test_servers_of_one_host_share_its_gpus_and_the_third_model_is_refused(
    serve: Serve, store: Path, host: FakeNvml, tmp_path: Path, leases: str
):
    for name in ("first", "second", "third"):
        make_model(store, name, PROBE, config=ONE + "gpuMemory: 50 GiB\n")
    other = tmp_path / "other"
    other.mkdir()
    one = serve("first", env=host.env, properties=leases)
    two = serve("second", env=host.env | {"TMPDIR": str(other)}, properties=leases)
    one.ready("first")
    two.ready("second")
    assert promised(tmp_path) == [("GPU-aaaa", 50), ("GPU-bbbb", 50)]
    refused = two.manage("POST", "/models?url=third")
    assert refused.status == 507
    assert "model third can't be placed: no GPU has 51200 MiB for it: GPU 0 (GPU-aaaa) has 30464 MiB to give" in (
        refused.message
    )
    assert "gpuMemory" in refused.message
    assert one.stop() == 0
    two.manage("DELETE", "/models/third")
    assert two.manage("POST", "/models?url=third").status == 200
    assert promised(tmp_path) == [("GPU-aaaa", 50), ("GPU-bbbb", 50)]
    assert two.stop() == 0
    assert [path.name for path in (tmp_path / "leases").iterdir()] == ["lock"]


def test_a_model_may_wait_for_memory_or_run_on_the_cpu(serve: Serve, store: Path, host: FakeNvml, leases: str):
    host.set({"0.used": 70 * GIB, "1.used": 70 * GIB})
    make_model(store, "patient", PROBE, config=ONE + "gpuMemory: 20000\nwhenNoGpuMemory: wait\n")
    make_model(store, "modest", PROBE, config=ONE + "gpuMemory: 20000\nwhenNoGpuMemory: cpu\n")
    server = serve("modest", env=host.env, properties=leases)
    server.ready("modest")
    assert gpu_of(server, "modest") is None
    assert server.manage("POST", "/models?url=patient&synchronous=false").status == 202
    server.until_logged("patient_1.0 waits: no GPU has 20000 MiB for it")
    host.set({"1.used": 10 * GIB})
    server.ready("patient")
    assert gpu_of(server, "patient") == "GPU-bbbb"


def test_what_a_worker_takes_is_measured_and_remembered(
    serve: Serve, store: Path, host: FakeNvml, tmp_path: Path, leases: str
):
    make_model(store, "probe", PROBE, config=ONE)
    server = serve("probe", env=host.env, properties=leases)
    server.ready("probe")
    pid = server.predict("probe", "pid").json["pid"]
    host.set({"0.used": 9 * GIB, "0.processes": f"{pid}:{9 * GIB}"})
    eventually(lambda: promised(tmp_path) == [("GPU-aaaa", 9)])
    kept = tmp_path / "cache" / "torchserve" / "gpu-memory.json"
    eventually(lambda: kept.exists() and list(json.loads(kept.read_text()).values()) == [9 * GIB])
    assert server.stop() == 0
    host.set({"0.used": 75 * GIB, "1.used": 75 * GIB, "0.processes": None})
    server = serve(env=host.env, properties=leases)
    refused = server.manage("POST", "/models?url=probe")
    assert refused.status == 507
    assert "no GPU has 9216 MiB" in refused.message


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"xid": "1:0:79"}, "XID 79, fallen off the bus"),
        pytest.param({"0.ecc": 3}, "3 uncorrected ECC errors since the start", marks=pytest.mark.thorough),
        ({"0.fault.nvmlDeviceGetHandleByIndex_v2": 15}, "it does not answer"),
    ],
)
def test_workers_leave_a_gpu_that_is_lost(
    serve: Serve, store: Path, host: FakeNvml, leases: str, fault: dict[str, object], reason: str
):
    host.set({"0.ecc": 0, "1.ecc": 0})
    make_model(store, "probe", PROBE, config=ONE)
    server = serve("probe", env=host.env, properties=leases)
    server.ready("probe")
    assert gpu_of(server, "probe") == "GPU-aaaa"
    host.set(fault)
    server.until_logged(f"leaves its GPU: GPU 0 (GPU-aaaa) is lost: {reason}")
    eventually(lambda: gpu_of(server, "probe") == "GPU-bbbb")
    assert server.manage("PUT", "/models/probe?min_worker=2&max_worker=2&synchronous=true").status == 200
    assert gpu_of(server, "probe") == "GPU-bbbb"


def test_an_application_s_own_fault_takes_no_gpu(serve: Serve, store: Path, host: FakeNvml, leases: str):
    make_model(store, "probe", PROBE, config=ONE)
    host.set({"xid": "1:0:31"})
    server = serve("probe", env=host.env, properties=leases)
    server.ready("probe")
    assert gpu_of(server, "probe") == "GPU-aaaa"


def test_a_driver_that_hangs_hangs_nothing_else(serve: Serve, store: Path, host: FakeNvml, leases: str):
    make_model(store, "probe", PROBE, config=ONE)
    server = serve("probe", env=host.env, properties=leases)
    server.ready("probe")
    host.set({"0.hang": 1})
    server.until_logged("NVML did not answer: the GPU driver of this host hangs")
    assert server.predict("probe", "pid").status == 200
    host.set({"0.hang": None})
    assert server.manage("PUT", "/models/probe?min_worker=2&max_worker=2&synchronous=true").status == 200
    assert server.stop() == 0


def test_nothing_of_it_on_a_host_without_a_gpu(serve: Serve, store: Path, tmp_path: Path, leases: str):
    make_model(store, "probe", PROBE, config=ONE)
    server = serve("probe", env={"XDG_CACHE_HOME": str(tmp_path / "cache")}, properties=leases)
    server.ready("probe")
    assert server.stop() == 0
    assert not (tmp_path / "leases").exists()
    assert not (tmp_path / "cache").exists()
