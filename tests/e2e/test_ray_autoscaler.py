"""What no node has room for, Ray's autoscaler makes room for: its provider of fake nodes, which are processes of this host."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from .handlers import PROBE
from .live import LiveServer, eventually, make_model
from .ray_nodes import cluster

HEAD = "f" * 51 + "00000"  # the provider takes a node of this id for the head
LARGE = "minWorkers: 1\nmaxWorkers: 1\ndeviceType: gpu\nparallelType: custom\nparallelLevel: 3\n"


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Any]:
    """A cluster that has nothing but a head, and may have one node with three GPUs."""
    from ray.util import get_node_ip_address

    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    address = f"{get_node_ip_address()}:{port}"
    kinds = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "large": {"resources": {"CPU": 4, "GPU": 3}, "node_config": {}, "min_workers": 0, "max_workers": 1},
    }
    lists = ("cluster_synced_files", "initialization_commands", "setup_commands", "head_setup_commands")
    lists += ("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    config: dict[str, Any] = {
        "cluster_name": "growing",
        "max_workers": 1,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "provider": {"type": "fake_multinode", "gcs_address": address},
        "available_node_types": kinds,
        "head_node_type": "ray.head.default",
        **{key: {} for key in ("auth", "docker", "file_mounts", "head_node", "worker_nodes")},
        **{key: [] for key in lists},
    }
    file = tmp_path / "autoscaler.json"
    file.write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_FAKE_CLUSTER", "1")
        patch.setenv("AUTOSCALER_UPDATE_INTERVAL_S", "1")
        named = {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD}
        with cluster(0, gcs_server_port=port, autoscaling_config=str(file), env_vars=named) as made:
            yield made
        for process in psutil.process_iter():  # the provider leaves its nodes
            with contextlib.suppress(psutil.Error):
                if f"--gcs-address={address}" in process.cmdline():
                    process.kill()


def test_a_worker_that_no_node_has_room_for_gets_a_new_node(growing: Any, home: Path) -> None:
    make_model(home / "store", "large", PROBE, LARGE)
    server = LiveServer(
        home,
        ("large",),
        arguments=("--engine", f"ray={growing.address}"),
        env={"XDG_CACHE_HOME": str(home / "cache")},
    ).wait()
    try:
        server.until_logged("waits for a place: it asks for 3 GPU, 1 CPU, and none of Ray's 1 nodes has that")
        eventually(lambda: server.workers("large", "READY"), 120.0)
        assert len(server.predict("large", "x").json["visible"].split(",")) == 3
    finally:
        assert server.stop() == 0
