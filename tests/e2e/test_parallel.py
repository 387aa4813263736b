"""Models of several ranks: torchrun starts them, rank 0 talks, and they live and die as one worker."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ..standins.nvml import GIB, FakeNvml
from .conftest import Serve
from .handlers import PROBE
from .live import LiveServer, eventually, gone, make_model

# As TorchServe's own test of tensor parallelism has it, and notes who was asked.
TENSOR = """
import os, pathlib, time
import torch
from ts.handler_utils.utils import send_intermediate_predict_response
from ts.torch_handler.base_handler import BaseHandler

HERE = pathlib.Path(os.environ["RECORD_HERE"])
RANK = os.environ["RANK"]

class Tensor(BaseHandler):
    def initialize(self, context):
        torch.distributed.init_process_group("gloo")
        self.context = context
        super().initialize(context)
        self.device = torch.device("cpu")
        with HERE.open("a") as file:
            file.write(f"{RANK} {os.getpid()} {context.system_properties['gpu_id']}"
                       f" {os.environ.get('CUDA_VISIBLE_DEVICES')} {os.environ['OMP_NUM_THREADS']}\\n")

    def preprocess(self, data):
        text = data[0]["body"].decode()
        if text == "who":
            return RANK
        if text == "hang":
            time.sleep(600)
        if text.startswith("die ") and text.split()[1] == RANK:
            os._exit(7)
        if not text.startswith("die"):
            send_intermediate_predict_response(["0"], self.context.request_ids, "first", 200, self.context)
        return torch.as_tensor(int(text.split()[-1]))

    def inference(self, data):
        if isinstance(data, str):
            with HERE.with_name("asked").open("a") as file:
                file.write(data)
            return data
        return super().inference(data)

    def postprocess(self, data):
        return [data if isinstance(data, str) else data.item()]
"""
MODEL = """
import torch

class Sum(torch.nn.Module):
    def forward(self, x):
        torch.distributed.all_reduce(x)
        return x
"""
CONFIG = """
minWorkers: 1
maxWorkers: 1
parallelType: {kind}
{device}
responseTimeout: 30
torchrun:
  nproc-per-node: 2
  OMP_NUMBER_THREADS: 1
"""


def make(store: Path, name: str, kind: str, handler: str = TENSOR, device: str = "deviceType: cpu") -> Path:
    folder = make_model(store, name, handler, config=CONFIG.format(kind=kind, device=device), **{"model.py": MODEL})
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    manifest["model"]["modelFile"] = "model.py"
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    return folder


def started(home: Path) -> dict[int, list[str]]:
    """What the latest rank of each number has noted of itself: pid, gpu_id, CUDA_VISIBLE_DEVICES, OMP_NUM_THREADS."""
    lines = [line.split() for line in (home / "record").read_text().splitlines()]
    return {int(line[0]): line[1:] for line in lines}


def pids(home: Path) -> list[int]:
    return [int(each[0]) for _, each in sorted(started(home).items())]


def begin(serve: Serve, tmp_path: Path, name: str, **env: str) -> LiveServer:
    server = serve(name, env={"RECORD_HERE": str(tmp_path / "record"), **env})
    eventually(lambda: server.workers(name, "READY"))
    return server


@pytest.fixture(scope="module")
def tensor(home: Path) -> Iterator[LiveServer]:
    """The server of a model of two ranks. Its start imports torch three times: what can ask the same one does."""
    make(home / "store", "tensor", "tp")
    server = LiveServer(home, ["tensor"], env={"RECORD_HERE": str(home / "record")}).wait()
    eventually(lambda: server.workers("tensor", "READY"))
    yield server
    server.stop()


def test_every_rank_computes_and_rank_0_answers_in_pieces(tensor: LiveServer, home: Path) -> None:
    for number in (42, 7):
        answer = tensor.predict("tensor", str(number).encode())
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.body.decode() == f"0{2 * number}"
    assert tensor.predict("tensor", b"who").body == b"0"
    eventually(lambda: sorted((home / "asked").read_text()) == ["0", "1"])
    ranks = started(home)
    assert [ranks[rank][1:] for rank in (0, 1)] == [["None", "None", "1"]] * 2
    described = tensor.manage("GET", "/models/tensor").json[0]
    assert (described["parallelType"], described["parallelLevel"], described["deviceType"]) == ("tp", 2, "cpu")
    assert described["workers"][0]["pid"] == pids(home)[0]


@pytest.mark.thorough
def test_in_a_pipeline_only_rank_0_is_asked(serve: Serve, store: Path, tmp_path: Path) -> None:
    make(store, "pipe", "pp")
    server = begin(serve, tmp_path, "pipe")
    assert server.predict("pipe", b"who").body == b"0"
    assert server.predict("pipe", b"who").body == b"0"
    agent = psutil.Process(pids(tmp_path)[0]).ppid()
    assert server.stop() == 0
    eventually(lambda: all(gone(pid) for pid in [agent, *pids(tmp_path)]))
    assert (tmp_path / "asked").read_text() == "00"
    assert sorted(started(tmp_path)) == [0, 1]


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.thorough)])
def test_a_rank_that_dies_takes_the_worker_with_it_which_starts_whole(
    tensor: LiveServer, home: Path, rank: int
) -> None:
    before = pids(home)
    if rank == 0:  # which talks to the server, and has nothing to do now
        os.kill(before[rank], signal.SIGKILL)
    else:
        # Rank 0 may be the first to notice, and its handler fails; or torchrun, and the worker has died.
        assert tensor.predict("tensor", b"die 1 1").status in {500, 503}
    eventually(lambda: all(gone(pid) for pid in before))
    eventually(lambda: not set(pids(home)) & set(before) and tensor.workers("tensor", "READY"))
    assert tensor.predict("tensor", b"5").body == b"010"


def test_nothing_is_left_of_a_server_that_was_killed(tensor: LiveServer, home: Path) -> None:
    ranks = pids(home)
    tensor.later("tensor", b"hang")
    agent = psutil.Process(ranks[0]).ppid()
    tensor.process.kill()
    eventually(lambda: all(gone(pid) for pid in [agent, *ranks]))


def test_a_rank_that_can_not_load_says_why_though_the_others_wait_for_it(
    serve: Serve, store: Path, tmp_path: Path
) -> None:
    broken = TENSOR.replace(
        "    def initialize(self, context):",
        "    def initialize(self, context):\n        if RANK == '1': raise OSError('shard 1 is missing')",
    )
    make(store, "broken", "tp", broken)
    server = serve(env={"RECORD_HERE": str(tmp_path / "record")})
    answer = server.manage("POST", "/models?url=broken&initial_workers=1&synchronous=true")
    assert answer.status == 500
    assert "rank 1: OSError: shard 1 is missing" in answer.message


@pytest.mark.thorough
def test_a_worker_gets_as_many_gpus_as_it_has_ranks(
    serve: Serve, store: Path, tmp_path: Path, fake_nvml: FakeNvml
) -> None:
    fake_nvml.set({"0.uuid": "GPU-aaaa", "1.uuid": "GPU-bbbb", "0.used": 60 * GIB})
    make(store, "tensor", "tp", device="deviceType: gpu")
    server = begin(serve, tmp_path, "tensor", **fake_nvml.env)
    assert server.predict("tensor", b"4").body == b"08"
    ranks = started(tmp_path)
    assert [ranks[rank][1:3] for rank in (0, 1)] == [["0", "GPU-aaaa,GPU-bbbb"], ["1", "GPU-aaaa,GPU-bbbb"]]
    (worker,) = server.workers("tensor")
    assert (worker["gpu"], worker["gpuUsage"]) == (True, "gpuId::0 gpuId::1")


def test_custom_is_one_process_with_many_gpus(serve: Serve, store: Path, fake_nvml: FakeNvml) -> None:
    fake_nvml.set({"0.uuid": "GPU-aaaa", "1.uuid": "GPU-bbbb"})
    one = "minWorkers: 1\nmaxWorkers: 1\nmaxRetryTimeoutInSec: 1\nparallelType: custom\n"
    make_model(store, "custom", PROBE, config=one + "parallelLevel: 2\n")
    make_model(store, "many", PROBE, config=one + "parallelLevel: 3\n")
    server = serve("custom", env=fake_nvml.env)
    server.ready("custom")
    found = server.predict("custom", "where").json
    assert (found["visible"], found["gpu_id"]) == ("GPU-aaaa,GPU-bbbb", 0)
    answer = server.manage("POST", "/models?url=many&initial_workers=1&synchronous=true")
    assert answer.status == 500
    assert "it needs 3 GPUs, and there are 2 for it" in answer.message
