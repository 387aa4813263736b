"""probe() in child processes that load a stand-in for NVIDIA's library, as they would load the true one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..standins.nvml import GIB, GPU_IS_LOST, NO_DRIVER, NOT_FOUND, NOT_SUPPORTED, VERSION_MISMATCH, FakeNvml

CHILD = """
import dataclasses, json, logging, os, sys
from torchserve.scheduler.devices import probe

class Keep(logging.Handler):
    def emit(self, record):
        lines.append([record.levelname, record.getMessage()])

logging.getLogger("torchserve").addHandler(Keep())
logging.getLogger("torchserve").setLevel(logging.DEBUG)
for line in sys.stdin:
    lines, mask = [], json.loads(line)
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    if mask is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = mask
    print(json.dumps([[dataclasses.asdict(gpu) for gpu in probe()], lines]), flush=True)
"""


class Child:
    """A process that probes whenever it is asked to, so that one can see the machine change under it."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.logged: list[tuple[str, str]] = []

    def probe(self, mask: str | None = None) -> list[dict[str, Any]]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(mask) + "\n")
        self.process.stdin.flush()
        gpus, logged = json.loads(self.process.stdout.readline())
        self.logged = [(level, text) for level, text in logged]
        return gpus

    def close(self) -> None:
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, nvml_library: Path) -> Iterator[tuple[FakeNvml, Child]]:
    fake = FakeNvml(tmp_path_factory.mktemp("machine"), nvml_library)
    child = Child(fake.env)
    yield fake, child
    child.close()


@pytest.fixture
def fake(machine: tuple[FakeNvml, Child]) -> FakeNvml:
    machine[0].reset()
    return machine[0]


@pytest.fixture
def child(machine: tuple[FakeNvml, Child]) -> Child:
    return machine[1]


def seen(gpus: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(gpu["index"], gpu["uuid"]) for gpu in gpus]


def test_two_gpus(fake: FakeNvml, child: Child):
    fake.set(
        {
            "0.uuid": "GPU-aaaa",
            "0.name": "NVIDIA H100",
            "0.used": GIB,
            "0.reserved": GIB,
            "1.total": 24 * GIB,
            "1.utilization": 30,
            "1.ecc": 2,
            "1.processes": f"17:{GIB},18:{3 * GIB}",
        }
    )
    assert child.probe() == [
        {
            "index": 0,
            "uuid": "GPU-aaaa",
            "name": "NVIDIA H100",
            "total": 80 * GIB,
            "free": 78 * GIB,
            "visible": 2,
            "utilization": 0.0,
            "board": "GPU-aaaa",
            "ecc_errors": None,
            "processes": {},
            "sick": "",
        },
        {
            "index": 1,
            "uuid": "GPU-00000001-0000-4000-8000-000000000000",
            "name": "Stand-in GPU 1",
            "total": 24 * GIB,
            "free": 24 * GIB,
            "visible": 2,
            "utilization": 30.0,
            "board": "GPU-00000001-0000-4000-8000-000000000000",
            "ecc_errors": 2,
            "processes": {"17": GIB, "18": 3 * GIB},
            "sick": "",
        },
    ]
    assert child.logged == []


def test_memory_is_read_anew_each_time(fake: FakeNvml, child: Child):
    free = []
    for used in (0, 70 * GIB, 10 * GIB):
        fake.set({"0.used": used})
        free.append(child.probe()[0]["free"])
    assert free == [80 * GIB, 10 * GIB, 70 * GIB]


def test_gpus_come_and_go(fake: FakeNvml, child: Child):
    counts = []
    for number in (2, 0, 8):
        fake.set({"count": number})
        counts.append(len(child.probe()))
    assert counts == [2, 0, 8]


A, B, C, D = "GPU-aaaa1111", "GPU-aaaa2222", "GPU-bbbb3333", "GPU-cccc4444"


@pytest.mark.parametrize(
    ("mask", "visible"),
    [
        (None, [A, B, C, D]),
        ("", []),
        (" ", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0", [A]),
        ("2,0", [C, A]),
        (" 3 , 1 ", [D, B]),
        ("+1", [B]),
        ("1x,2y", [B, C]),
        ("01", [B]),
        ("0,-1,1", [A]),
        ("0,,1", [A]),
        ("4", []),
        ("1,9,0", [B]),
        ("1,1", []),
        ("0,1,0", []),
        (D, [D]),
        (f"{C},{A}", [C, A]),
        (f"{C}, {A}", [C, A]),
        ("GPU-b", [C]),
        ("GPU-b,GPU-aaaa2", [C, B]),
        ("GPU-aaaa", []),
        ("GPU-c,GPU-aaaa,GPU-b", [D]),
        ("GPU-c,GPU-ffff,GPU-b", [D]),
        ("GPU-b,GPU-bbbb", []),
        (f"{A},1", [A]),
        (f"1,{A}", [B]),
        ("gpu-bbbb", []),
        ("MIG-aaaa", []),
    ],
)
def test_cuda_visible_devices(fake: FakeNvml, child: Child, mask: str | None, visible: list[str]):
    fake.set({"count": 4, "0.uuid": A, "1.uuid": B, "2.uuid": C, "3.uuid": D})
    assert seen(child.probe(mask)) == list(enumerate(visible))
    assert child.logged == []


M0, M1 = "MIG-1111", "MIG-2222"


@pytest.mark.parametrize(
    ("mask", "visible"),
    [
        (None, [A, M0, M1]),
        (M1, [M1]),
        (f"{M1},{M0}", [M1, M0]),
        ("MIG-1", [M0]),
        ("MIG-", []),
        (f"{M0},{M0}", []),
        (f"{M0},{A}", [M0, A]),
        ("1", [M0, M1]),
        ("1,0", [M0, M1, A]),
        ("GPU-bbbb", [M0, M1]),
        (f"{M0},GPU-bbbb", []),
    ],
)
def test_mig_instances(fake: FakeNvml, child: Child, mask: str | None, visible: list[str]):
    fake.set({"0.uuid": A, "1.uuid": C, "1.mig": 2, "1.mig0.uuid": M0, "1.mig1.uuid": M1, "1.mig1.total": 10 * GIB})
    gpus = child.probe(mask)
    assert seen(gpus) == list(enumerate(visible))
    assert [gpu["total"] for gpu in gpus if gpu["uuid"] == M1] == [10 * GIB] * visible.count(M1)
    assert child.logged == []


def test_mig_switched_off(fake: FakeNvml, child: Child):
    fake.set({"0.uuid": A, "1.uuid": B, "1.mig": 2, "1.mig_off": 1})
    assert seen(child.probe()) == [(0, A), (1, B)]


def test_mig_switched_on_without_instances(fake: FakeNvml, child: Child):
    fake.set({"0.uuid": A, "1.mig": 0})
    assert seen(child.probe()) == [(0, A)]
    assert seen(child.probe("1,0")) == []


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetHandleByIndex_v2",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetName",
        "nvmlDeviceGetMemoryInfo",
    ],
)
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_gpu_is_left_out(fake: FakeNvml, child: Child, function: str, lost: int):
    fake.set({"0.uuid": A, "1.uuid": B})
    fake.fail(function, GPU_IS_LOST, gpu=lost)
    other = 1 - lost
    assert seen(child.probe()) == seen(child.probe("0,1")) == [(other, (A, B)[other])]
    assert [gpu["visible"] for gpu in child.probe()] == [2]
    ((level, text),) = child.logged
    assert level == "WARNING"
    assert text.startswith(f"GPU {lost} (")
    assert text.endswith("GPU is lost")
    # Where the one that answers stands behind it in a list of uuids, it is not hidden with it.
    assert seen(child.probe(f"{A},{B}")) == [(other, (A, B)[other])]
    assert len(child.logged) == 1
    # Nor is anybody warned about one that isn't visible.
    assert len(child.probe(str(other))) == 1
    assert child.logged == []


def test_a_gpu_that_comes_back(fake: FakeNvml, child: Child):
    fake.lose(0)
    assert len(child.probe()) == 1
    fake.reset()
    assert len(child.probe()) == 2


@pytest.mark.parametrize("function", ["nvmlDeviceGetMaxMigDeviceCount", "nvmlDeviceGetMigDeviceHandleByIndex"])
def test_a_gpu_whose_instances_cant_be_listed(fake: FakeNvml, child: Child, function: str):
    fake.set({"0.uuid": A, "1.mig": 2})
    fake.fail(function, GPU_IS_LOST, gpu=1)
    assert seen(child.probe()) == [(0, A)]
    assert len(child.logged) == 1


def test_an_instance_that_is_lost(fake: FakeNvml, child: Child):
    fake.set({"count": 1, "0.mig": 2, "0.mig0.uuid": M0, "0.mig1.uuid": M1})
    fake.fail("nvmlDeviceGetMemoryInfo", GPU_IS_LOST, gpu="0.mig0")
    assert seen(child.probe()) == [(1, M1)]
    assert child.logged == [("WARNING", f"GPU 0 ({M0}) is left out: GPU is lost")]


def test_memory_shared_with_the_cpu(fake: FakeNvml, child: Child):
    fake.fail("nvmlDeviceGetMemoryInfo", NOT_SUPPORTED)
    assert [(gpu["total"], gpu["free"]) for gpu in child.probe()] == [(0, 0), (0, 0)]
    assert child.logged == []


def test_no_driver(fake: FakeNvml, child: Child):
    fake.set({"count": None})
    assert child.probe() == []
    assert [level for level, _ in child.logged] == ["DEBUG"]
    fake.reset()
    fake.fail("nvmlInit", NO_DRIVER)
    assert child.probe() == []
    assert [level for level, _ in child.logged] == ["DEBUG"]


def test_a_driver_that_does_not_start(fake: FakeNvml, child: Child):
    fake.fail("nvmlInit", VERSION_MISMATCH)
    assert child.probe() == []
    ((level, text),) = child.logged
    assert level == "WARNING"
    assert text.startswith("No GPU can be used: NVML does not start: ")


def test_a_driver_that_does_not_count(fake: FakeNvml, child: Child):
    fake.fail("nvmlDeviceGetCount_v2", NOT_FOUND)
    assert child.probe() == []
    assert child.logged == [("WARNING", "No GPU can be used: NVML does not list them: Not Found")]


def test_a_driver_that_does_not_shut_down(fake: FakeNvml, child: Child):
    fake.fail("nvmlShutdown", VERSION_MISMATCH)
    assert len(child.probe()) == 2
    ((level, text),) = child.logged
    assert level == "WARNING"
    assert text.startswith("NVML does not shut down: ")


def test_no_library(tmp_path: Path):
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library, but the first one found\n")
    child = Child({"LD_LIBRARY_PATH": str(tmp_path)})
    try:
        assert child.probe() == []
        assert [level for level, _ in child.logged] == ["DEBUG"]
    finally:
        child.close()


def test_the_fixture_by_itself(fake_nvml: FakeNvml):
    child = Child(fake_nvml.env)
    try:
        assert len(child.probe()) == 2
    finally:
        child.close()
