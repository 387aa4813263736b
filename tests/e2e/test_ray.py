"""Workers on the nodes of a real Ray cluster of this host: they serve, and what is killed is told and replaced.

The cluster's head has no room for workers; two nodes declare two GPUs each, which the handlers never touch.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from .handlers import PROBE
from .live import Answer, Gate, LiveServer, eventually, gone, make_model
from .ray_nodes import agents, cluster, node_of, raylet, send

ONE = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 1\ndeviceType: {}\n"
# Each rank tells of itself; a rank named by RANKS_FAIL does not load, while the others wait for it.
RANKS = """
import json, os
import torch.distributed as dist

class Ranks:
    def initialize(self, context):
        if os.path.exists(os.path.join(context.system_properties["model_dir"], "rank-" + os.environ["RANK"])):
            raise ValueError("no weights for rank " + os.environ["RANK"])
        dist.init_process_group("gloo")
        self.gpu = context.system_properties["gpu_id"]

    def handle(self, data, context):
        seen = [None] * dist.get_world_size()
        mine = (os.getpid(), self.gpu, os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ["OMP_NUM_THREADS"])
        dist.all_gather_object(seen, mine)
        return [json.dumps(seen)] * len(data)
"""
TORCHRUN = "minWorkers: 1\nmaxWorkers: 1\nparallelType: tp\ndeviceType: gpu\ntorchrun:\n  nproc-per-node: {}\n"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with cluster() as made:
        yield made


@pytest.fixture(scope="module")
def server(nodes: Any, home: Path) -> Iterator[LiveServer]:
    for name, device in (("gpu", "gpu"), ("cpu", "cpu")):
        make_model(home / "store", name, PROBE, ONE.format(device))
    make_model(home / "store", "again", PROBE, ONE.format("cpu") + "idempotent: true\n")
    make_model(home / "store", "large", PROBE, ONE.format("gpu") + "parallelType: custom\nparallelLevel: 9\n")
    make_model(home / "store", "two", RANKS, TORCHRUN.format(2))
    make_model(home / "store", "three", RANKS, TORCHRUN.format(3))
    make_model(home / "store", "half", RANKS, TORCHRUN.format(2), **{"rank-1": ""})
    running = LiveServer(
        home,
        ("gpu", "cpu", "again", "large"),
        arguments=("--engine", f"ray={nodes.address}"),
        env={"XDG_CACHE_HOME": str(home / "cache")},
    ).wait()
    yield running
    assert running.stop() == 0


def test_workers_are_placed_serve_and_are_described(server: LiveServer) -> None:
    server.ready("gpu")
    answer = server.predict("gpu", "hello")
    assert answer.status == 200
    said = answer.json
    assert (said["text"], said["gpu_id"]) == ("hello", 0)
    assert len(said["visible"].split(",")) == 1
    (worker,) = server.workers("gpu")
    assert worker["pid"] == said["pid"]
    assert worker["gpu"]
    assert worker["node"]
    eventually(lambda: server.workers("gpu")[0]["memoryUsage"] > 0)
    server.ready("cpu")
    assert server.predict("cpu", "x").json["gpu_id"] is None
    eventually(lambda: "probe initialized" in (server.home / "logs/model_log.log").read_text())


def test_what_no_node_has_is_told(server: LiveServer) -> None:
    server.until_logged("waits for a place: it asks for 9 GPU, 1 CPU, and none of Ray's 3 nodes has that")
    (worker,) = server.workers("large")
    assert "9 GPU" in worker["waiting"]
    assert server.predict("cpu", "meanwhile").status == 200


def test_a_killed_worker_fails_its_batch_and_the_queue_is_served_elsewhere(server: LiveServer, tmp_path: Path) -> None:
    server.ready("cpu")
    held, queued = _held(server, "cpu", tmp_path)
    os.kill(server.workers("cpu")[0]["pid"], signal.SIGKILL)
    answer = held.result()
    assert answer.status in {500, 507}
    assert "Worker died" in answer.message
    assert " on node " in answer.message
    assert queued.result().status == 200


def test_a_killed_actor_lets_the_batch_finish_and_its_place_is_given_up(
    server: LiveServer, nodes: Any, tmp_path: Path
) -> None:
    server.ready("cpu")
    held, queued = _held(server, "cpu", tmp_path)
    before = server.workers("cpu")[0]["pid"]
    for agent in agents(nodes):
        agent.kill()
    server.until_logged("leaves its node: Ray has lost its place")
    (tmp_path / "free").touch()
    assert held.result().status == 200
    assert queued.result().status == 200
    eventually(lambda: gone(before))


def test_what_a_dead_worker_of_an_idempotent_model_ran_is_run_again_elsewhere(
    server: LiveServer, tmp_path: Path
) -> None:
    server.ready("again")
    held, queued = _held(server, "again", tmp_path)
    os.kill(server.workers("again")[0]["pid"], signal.SIGKILL)
    (tmp_path / "free").touch()
    assert (held.result().status, queued.result().status) == (200, 200)


def test_the_ranks_of_a_worker_are_on_one_node_each_with_a_gpu_of_its_own(server: LiveServer) -> None:
    assert server.manage("POST", "/models?url=two&initial_workers=1&synchronous=true").status == 200
    ranks = server.predict("two", "who").json
    assert [rank[1] for rank in ranks] == [0, 1]
    assert {rank[3] for rank in ranks} == {"1"}
    ((visible, others),) = {tuple(sorted(str(rank[2]).split(","))) for rank in ranks}
    assert visible != others
    pids = [rank[0] for rank in ranks]
    eventually(lambda: server.workers("two")[0]["pid"] == pids[0])
    os.kill(pids[1], signal.SIGKILL)
    eventually(lambda: all(map(gone, pids)))
    eventually(lambda: server.workers("two", "READY") and server.workers("two")[0]["pid"] not in pids)
    assert [rank[1] for rank in server.predict("two", "who").json] == [0, 1]
    assert server.manage("DELETE", "/models/two").status == 200


def test_ranks_that_no_single_node_has_room_for_are_not_torn_apart(server: LiveServer) -> None:
    assert server.manage("POST", "/models?url=three&initial_workers=1&synchronous=false").status == 202
    server.until_logged("it asks for 3 GPU, 3 CPU, and none of Ray's 3 nodes has that (the most are 2 GPU, 4 CPU)")
    assert server.manage("DELETE", "/models/three").status == 200


def test_a_rank_that_can_not_load_says_why_while_the_first_one_waits_for_it(server: LiveServer) -> None:
    answer = server.manage("POST", "/models?url=half&initial_workers=1&synchronous=true")
    assert answer.status >= 500
    assert "rank 1: " in answer.message
    assert "no weights for rank 1" in answer.message
    server.manage("DELETE", "/models/half")


def test_a_node_that_is_slow_answers_late(server: LiveServer, nodes: Any) -> None:
    server.ready("cpu")
    (worker,) = server.workers("cpu")
    send(node_of(nodes, worker), signal.SIGSTOP)
    late = server.later("cpu", "late")
    eventually(lambda: server.accepted("cpu") == (1, 0))
    send(node_of(nodes, worker), signal.SIGCONT)
    assert late.result().status == 200
    assert server.workers("cpu")[0]["pid"] == worker["pid"]


def test_a_killed_raylet_lets_the_batch_finish_and_the_worker_goes_to_another_node(
    server: LiveServer, nodes: Any, tmp_path: Path
) -> None:
    server.ready("gpu")
    held, queued = _held(server, "gpu", tmp_path)
    before = server.workers("gpu")[0]["node"]
    known = len(server.lines)
    nodes.remove_node(node_of(nodes, server.workers("gpu")[0]), allow_graceful=False)
    eventually(lambda: any("-gpu_1.0 leaves its node" in line for line in server.lines[known:]))
    (tmp_path / "free").touch()
    assert (held.result().status, queued.result().status) == (200, 200)
    server.ready("gpu")
    assert server.workers("gpu")[0]["node"] != before


def test_a_node_that_is_stopped_lets_the_batch_finish(server: LiveServer, nodes: Any, tmp_path: Path) -> None:
    fresh = nodes.add_node(num_cpus=4, num_gpus=2, object_store_memory=80 << 20)
    server.ready("cpu")
    held, queued = _held(server, "cpu", tmp_path)
    (worker,) = server.workers("cpu")
    known = len(server.lines)
    send(node_of(nodes, worker), signal.SIGTERM)
    eventually(lambda: any("-cpu_1.0 leaves its node" in line for line in server.lines[known:]))
    (tmp_path / "free").touch()
    assert (held.result().status, queued.result().status) == (200, 200)
    eventually(lambda: gone(worker["pid"]))
    assert raylet(fresh)


def _held(server: LiveServer, model: str, folder: Path) -> tuple[Future[Answer], Future[Answer]]:
    gate = Gate(folder / "free")
    held = server.later(model, f"hold {gate}")
    gate.reached()
    queued = server.later(model, "queued")
    eventually(lambda: server.accepted(model) == (1, 1) or server.accepted(model) == (2, 0))
    return held, queued
