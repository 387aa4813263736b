"""Workers on the nodes of a real Ray cluster of this host: they serve, and what is killed is told and replaced.

The cluster's head has no room for workers; two nodes declare two GPUs each, which the handlers never touch.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from .live import Gate, LiveServer, eventually, make_model

ray_cluster = pytest.importorskip("ray.cluster_utils")

HANDLER = """
import os, pathlib, time

def handle(data, context):
    if data is None:
        return None
    answers = []
    for row in data:
        text = row["body"]
        if text.startswith("hold "):
            path = pathlib.Path(text.removeprefix("hold "))
            path.with_name(path.name + ".reached").touch()
            while not path.exists():
                time.sleep(0.005)
        print("ran", text[:10], flush=True)
        answers.append(f"{text} {os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')} {context.system_properties['gpu_id']}")
    return answers
"""
ONE = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 1\ndeviceType: {}\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    store = {"object_store_memory": 80 << 20}
    made = ray_cluster.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **store}
    )
    for _ in range(2):
        made.add_node(num_cpus=4, num_gpus=2, **store)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def server(cluster: Any, home: Path) -> Iterator[LiveServer]:
    for name, device in (("gpu", "gpu"), ("cpu", "cpu")):
        make_model(home / "store", name, HANDLER, ONE.format(device))
    make_model(home / "store", "again", HANDLER, ONE.format("cpu") + "idempotent: true\n")
    make_model(home / "store", "large", HANDLER, ONE.format("gpu") + "parallelType: custom\nparallelLevel: 9\n")
    running = LiveServer(
        home,
        ("gpu", "cpu", "again", "large"),
        arguments=("--engine", f"ray={cluster.address}"),
        env={"XDG_CACHE_HOME": str(home / "cache")},
    ).wait()
    yield running
    assert running.stop() == 0


def test_workers_are_placed_serve_and_are_described(server: LiveServer) -> None:
    server.ready("gpu")
    answer = server.predict("gpu", "hello")
    assert answer.status == 200
    text, pid, devices, gpu = answer.body.decode().split()
    assert (text, gpu) == ("hello", "0")
    assert len(devices.split(",")) == 1
    (worker,) = server.workers("gpu")
    assert worker["pid"] == int(pid)
    assert worker["gpu"]
    assert worker["node"]
    eventually(lambda: server.workers("gpu")[0]["memoryUsage"] > 0)
    server.ready("cpu")
    assert server.predict("cpu", "x").body.decode().endswith("None")
    eventually(lambda: "ran hello" in (server.home / "logs/model_log.log").read_text())


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
    server: LiveServer, cluster: Any, tmp_path: Path
) -> None:
    server.ready("cpu")
    held, queued = _held(server, "cpu", tmp_path)
    before = server.workers("cpu")[0]["pid"]
    for agent in _agents(cluster):
        agent.kill()
    server.until_logged("leaves its node: Ray has lost its place")
    (tmp_path / "free").touch()
    assert held.result().status == 200
    assert queued.result().status == 200
    eventually(lambda: not psutil.pid_exists(before))


def test_what_a_dead_worker_of_an_idempotent_model_ran_is_run_again_elsewhere(
    server: LiveServer, tmp_path: Path
) -> None:
    server.ready("again")
    held, queued = _held(server, "again", tmp_path)
    os.kill(server.workers("again")[0]["pid"], signal.SIGKILL)
    (tmp_path / "free").touch()
    assert (held.result().status, queued.result().status) == (200, 200)


def test_a_killed_raylet_lets_the_batch_finish_and_the_worker_goes_to_another_node(
    server: LiveServer, cluster: Any, tmp_path: Path
) -> None:
    server.ready("gpu")
    held, queued = _held(server, "gpu", tmp_path)
    before = server.workers("gpu")[0]["node"]
    (node,) = (each for each in cluster.worker_nodes if each.node_id.startswith(before.split()[0]))
    known = len(server.lines)
    cluster.remove_node(node, allow_graceful=False)
    eventually(lambda: any("-gpu_1.0 leaves its node" in line for line in server.lines[known:]))
    (tmp_path / "free").touch()
    assert (held.result().status, queued.result().status) == (200, 200)
    server.ready("gpu")
    assert server.workers("gpu")[0]["node"] != before


def _agents(cluster: Any) -> list[psutil.Process]:
    """Return the actors' processes of this cluster, each a child of a node's raylet."""
    raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()]
    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for raylet in raylets:
            found += [each for each in psutil.Process(raylet).children() if "ray::Agent" in " ".join(each.cmdline())]
    return found


def _held(server: LiveServer, model: str, folder: Path) -> Any:
    gate = Gate(folder / "free")
    held = server.later(model, f"hold {gate}")
    gate.reached()
    queued = server.later(model, "queued")
    eventually(lambda: server.accepted(model) == (1, 1) or server.accepted(model) == (2, 0))
    return held, queued
