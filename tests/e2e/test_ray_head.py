"""The head of a Ray cluster is gone: what serves goes on, what can't be done is told, and what waits is done once it is back."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .handlers import PROBE
from .live import LiveServer, eventually, gone, make_model
from .ray_nodes import cluster, raylet

CONFIG = "minWorkers: 1\nmaxWorkers: 2\nbatchSize: 1\ndeviceType: cpu\n"
# Seconds after which Ray ends its own processes that have not found the head again: 60 where nothing is said.
PATIENCE = "25"


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", PATIENCE)
        yield


@pytest.fixture(scope="module")
def nodes(port: int, tmp_path_factory: pytest.TempPathFactory, patience: None) -> Iterator[Any]:
    """A cluster whose head keeps what it knows on a disk, as one with fault tolerance does."""
    kept = {"gcs_storage": "rocksdb", "gcs_storage_path": str(tmp_path_factory.mktemp("head"))}
    with cluster(gcs_server_port=port, _system_config=kept) as made:
        yield made


@pytest.fixture(scope="module")
def server(nodes: Any, home: Path) -> Iterator[LiveServer]:
    for name in ("m", "n"):
        make_model(home / "store", name, PROBE, CONFIG)
    running = LiveServer(
        home,
        ("m", "n"),
        arguments=("--engine", f"ray={nodes.address}"),
        env={"XDG_CACHE_HOME": str(home / "cache")},
    ).wait()
    yield running
    assert running.stop() == 0


def test_without_the_head_what_serves_goes_on_and_what_waits_is_placed_when_it_is_back(
    server: LiveServer, nodes: Any
) -> None:
    server.ready("m")
    server.ready("n")
    serving = server.workers("m")[0]["pid"]
    nodes.head_node.kill_gcs_server()
    assert server.predict("m", "x").status == 200
    server.until_logged("does not answer: ")
    assert server.has_logged("The 2 workers that it has placed go on; none can be started or moved until it does.")
    assert server.manage("PUT", "/models/m?min_worker=2&max_worker=2").status == 202
    os.kill(server.workers("n")[0]["pid"], signal.SIGKILL)
    server.until_logged("-m_1.0 waits for a place: Ray's head does not answer")
    server.until_logged("-n_1.0 waits for a place: Ray's head does not answer")
    later = server.later("n", "x")
    assert server.predict("m", "x").status == 200
    nodes.head_node.start_gcs_server()
    server.until_logged("answers again")
    server.ready("m", 2)
    assert later.result().status == 200
    assert serving in {worker["pid"] for worker in server.workers("m")}, "nothing moves"


def test_what_serves_outlives_ray_s_own_processes_and_moves_to_the_cluster_that_follows(
    server: LiveServer, nodes: Any, port: int
) -> None:
    server.ready("m", 2)
    before = {worker["pid"] for worker in server.workers("m")}
    raylets = [raylet(node) for node in nodes.list_all_nodes()]
    nodes.head_node.kill_gcs_server()
    eventually(lambda: all(map(gone, raylets)), 120.0)
    server.until_logged("can't be reached: ")
    assert server.predict("m", "x").status == 200
    assert {worker["pid"] for worker in server.workers("m", "READY")} == before
    with cluster(gcs_server_port=port):
        eventually(lambda: sum("Ray is reached" in line for line in server.lines) == 2, 120.0)
        assert server.predict("m", "x").status == 200
        eventually(lambda: len({worker["pid"] for worker in server.workers("m", "READY")} - before) == 2)
        assert server.predict("n", "x").status == 200
