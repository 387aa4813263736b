"""A real Ray cluster on this host, whose nodes are processes, and what may happen to one of its nodes.

The cluster's head has no room for workers.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

ray_cluster = pytest.importorskip("ray.cluster_utils")

STORE = {"object_store_memory": 80 << 20}
NODE = {"num_cpus": 4, "num_gpus": 2}


@contextlib.contextmanager
def cluster(nodes: int = 2, **head: Any) -> Iterator[Any]:
    """Have a cluster of a head and so many nodes, each of which declares GPUs that there need not be."""
    made = ray_cluster.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **STORE, **head}
    )
    try:
        for _ in range(nodes):
            made.add_node(**NODE, **STORE)
        yield made
    finally:
        made.shutdown()


def raylet(node: Any) -> int:
    """Return the pid of the node's own process of Ray."""
    return node.all_processes["raylet"][0].process.pid


def processes(node: Any) -> list[psutil.Process]:
    """Return all processes of a node: Ray's, and the workers that it has started, with all that is theirs."""
    number = raylet(node)
    found = {each.process.pid for kind in node.all_processes.values() for each in kind}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("RAY_RAYLET_PID") == str(number):
                found |= {process.pid, *(child.pid for child in process.children(recursive=True))}
    return [psutil.Process(pid) for pid in sorted(found) if psutil.pid_exists(pid)]


def send(node: Any, sign: signal.Signals) -> None:
    """Send a signal to all processes of a node."""
    for process in processes(node):
        with contextlib.suppress(psutil.Error):
            process.send_signal(sign)


def agents(made: Any) -> list[psutil.Process]:
    """Return the actors' processes of a cluster, each a child of a node's raylet."""
    found: list[psutil.Process] = []
    for node in made.list_all_nodes():
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(raylet(node)).children()
            found += [each for each in children if "ray::Agent" in " ".join(each.cmdline())]
    return found


def node_of(made: Any, worker: dict[str, Any]) -> Any:
    """Return the node of a worker that is described."""
    (node,) = (each for each in made.worker_nodes if each.node_id.startswith(worker["node"].split()[0]))
    return node
