"""What becomes of requests while a worker, a node, the network or Ray itself comes to harm: a table with counts.

`python -m tests.e2e.ray_faults` starts a Ray cluster and the server, has clients send requests without a pause, and does
harm once they are answered. It needs root for the rows of the network, whose node is in a namespace. It ends with 1 if
more was lost than a worker can have in hand, or if anything ran twice that may not. A word chooses rows; `network` those of the network.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from ..replicas.load import Load
from ..standins.network import Network
from .live import LiveServer, eventually, make_model
from .ray_nodes import NODE, STORE, agents, cluster, node_of, raylet, send

BATCH = 4
WORKERS = 2
# Notes each number that it has run, so that what ran twice is seen, and takes long enough to be in flight.
HANDLER = """
import os, time
RAN = os.open({ran!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def handle(data, context):
    rows = [bytes(row.get("body") or b"") for row in data or ()]
    if rows:
        os.write(RAN, b"".join(b"%s\\n" % row for row in rows))
        time.sleep(0.02)
    return rows
"""
CONFIG = f"minWorkers: {WORKERS}\nmaxWorkers: {WORKERS}\nbatchSize: {BATCH}\nmaxBatchDelay: 5\ndeviceType: cpu\n"
SETTLED = 3.0  # seconds of load after an event


class Scene:
    """A cluster of two nodes, and a server with models of two workers: `once`, and `again`, which is idempotent."""

    def __init__(self, home: Path, made: Any, *models: str) -> None:
        self.made = made
        self.models = models
        self.ran = home / "ran"
        self.ran.write_bytes(b"")
        handler = HANDLER.format(ran=str(self.ran))
        make_model(home / "store", "once", handler, CONFIG)
        make_model(home / "store", "again", handler, CONFIG + "idempotent: true\n")
        self.server = LiveServer(
            home,
            models,
            properties="decode_input_request=false\n",
            arguments=("--engine", f"ray={made.address}"),
            env={"XDG_CACHE_HOME": str(home / "cache")},
        ).wait()
        self.whole()

    def whole(self) -> None:
        """Wait until all workers serve."""
        for model in self.models:
            eventually(lambda model=model: len(self.server.workers(model, "READY")) == WORKERS, 180.0)

    def first(self, model: str = "once") -> dict[str, Any]:
        return self.server.workers(model, "READY")[0]

    def node(self, model: str = "once") -> Any:
        return node_of(self.made, self.first(model))

    def renew(self, node: Any) -> None:
        """Have another node in the place of one that is gone."""
        self.made.remove_node(node, allow_graceful=False)
        self.made.add_node(**NODE, **STORE)

    # ---- harm

    def kill_worker(self, model: str = "once") -> None:
        os.kill(self.first(model)["pid"], signal.SIGKILL)

    def kill_actors(self) -> None:
        known = len(self.server.lines)
        for agent in agents(self.made):
            agent.kill()
        eventually(lambda: sum("leaves its node" in line for line in self.server.lines[known:]) == 2 * WORKERS)

    def kill_raylet(self) -> None:
        node = self.node()
        psutil.Process(raylet(node)).kill()
        self.renew(node)

    def kill_node(self, model: str = "once") -> None:
        node = self.node(model)
        send(node, signal.SIGKILL)
        self.renew(node)

    def stop_node(self) -> None:
        node = self.node()
        send(node, signal.SIGTERM)
        time.sleep(SETTLED)
        self.renew(node)

    def slow_node(self) -> None:
        node = self.node()
        send(node, signal.SIGSTOP)
        time.sleep(5.0)
        send(node, signal.SIGCONT)

    def frozen_node(self) -> None:
        node, known = self.node(), len(self.server.lines)
        send(node, signal.SIGSTOP)
        eventually(lambda: any("no sign of life" in line for line in self.server.lines[known:]))
        time.sleep(SETTLED)
        send(node, signal.SIGCONT)
        time.sleep(SETTLED)
        self.renew(node)

    def headless(self) -> None:
        self.made.head_node.kill_gcs_server()
        time.sleep(15.0)
        self.made.head_node.start_gcs_server()

    def headless_and_killed(self) -> None:
        self.made.head_node.kill_gcs_server()
        self.kill_worker()
        time.sleep(15.0)
        self.made.head_node.start_gcs_server()


FAULTS: list[tuple[str, str, Callable[[Scene], None], int]] = [
    ("nothing", "once", lambda _: None, 0),
    ("a worker is killed", "once", Scene.kill_worker, 1),
    ("a worker is killed, `idempotent: true`", "again", lambda scene: scene.kill_worker("again"), 0),
    ("Ray's actors are killed", "once", Scene.kill_actors, 0),
    ("a node's Ray is killed", "once", Scene.kill_raylet, 0),
    ("a node is killed", "once", Scene.kill_node, 2),
    ("a node is killed, `idempotent: true`", "again", lambda scene: scene.kill_node("again"), 0),
    ("a node gets SIGTERM", "once", Scene.stop_node, 0),
    ("a node stands still for 5 s", "once", Scene.slow_node, 0),
    ("a node stands still until it is lost, and goes on", "once", Scene.frozen_node, 2),
    ("Ray's head is gone for 15 s", "once", Scene.headless, 0),
    ("Ray's head is gone for 15 s, and a worker is killed", "once", Scene.headless_and_killed, 1),
]


def row(scene: Scene, name: str, model: str, harm: Callable[[], None], workers: int) -> bool:
    """Print what became of the requests around an event in which so many workers may die. Return whether all is well."""
    scene.whole()
    scene.ran.write_bytes(b"")
    load = Load(scene.server.ports["Inference"], f"/predictions/{model}")
    load.start()
    try:
        eventually(lambda: load.answered > 50)
        harm()
        scene.whole()
        time.sleep(SETTLED)
    finally:
        account = load.stop()
    twice = sum(count > 1 for count in Counter(scene.ran.read_bytes().split()).values())
    # A second answer on a connection would be taken for that of the next request, whose number it has not.
    doubled = sum(count for cause, count in account.causes.items() if cause.startswith("200 "))
    cells = (name, account.sent, account.answered, account.refused, account.lost, doubled, twice)
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    for cause, count in account.causes.items():
        print(f"  {count} times: {cause}", file=sys.stderr)
    # A worker has a batch in hand, and one in its socket that it may have begun.
    return account.lost <= workers * 2 * BATCH and (not twice or model == "again")


@contextlib.contextmanager
def nodes(home: Path, count: int) -> Iterator[Any]:
    """A cluster whose head keeps what it knows, so that it may come back."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    kept = {"gcs_storage": "rocksdb", "gcs_storage_path": str(home / "head")}
    (home / "head").mkdir(parents=True)
    with cluster(count, gcs_server_port=port, _system_config=kept) as made:
        yield made


@contextlib.contextmanager
def far_node(made: Any, network: Network) -> Iterator[None]:
    """Have a node behind the network meanwhile."""
    command = [*network.inside, sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={made.address}"]
    command += [f"--node-ip-address={network.far}", "--num-cpus=4", "--object-store-memory=80000000", "--block"]
    before = len(made.global_state._live_node_ids())
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: process.poll() is not None or len(made.global_state._live_node_ids()) > before)
        if process.poll() is not None:
            raise SystemExit("Ray did not start behind the network")
        yield
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
        process.kill()
        process.wait()


def on_this_host(home: Path, chosen: str) -> bool:
    """Print the rows of what happens to processes, of those whose names have `chosen` in them."""
    with nodes(home, 2) as made:
        scene = Scene(home, made, "once", "again")
        try:
            well = True
            for name, model, harm, workers in FAULTS:
                if chosen in name:
                    well &= row(scene, name, model, lambda harm=harm: harm(scene), workers)
            return well
        finally:
            scene.server.stop()


def over_a_network(home: Path) -> bool:
    """Print the rows of what happens to the network of one of the two nodes."""
    network = Network()

    def crowded() -> None:
        network.crowd("2mbit")
        ending = time.monotonic() + 10.0
        with socket.socket(type=socket.SOCK_DGRAM) as other:  # whose traffic does not slow down for a full queue
            while time.monotonic() < ending:
                with contextlib.suppress(OSError):
                    other.sendto(bytes(1400), (network.far, 9))
                time.sleep(0.002)
        print(f"  {network.dropped()} packets were dropped", file=sys.stderr)
        network.uncrowd()

    def cut(seconds: float) -> None:
        network.cut()
        time.sleep(seconds)
        network.heal()

    try:
        with nodes(home, 1) as made, far_node(made, network):
            scene = Scene(home, made, "once")
            try:
                if not any(network.far in worker["node"] for worker in scene.server.workers("once")):
                    raise SystemExit("Ray has placed no worker behind the network")
                return all([
                    row(scene, "a full network drops packets for 10 s", "once", crowded, 0),
                    row(scene, "a node is cut off for 5 s", "once", lambda: cut(5.0), 0),
                    row(scene, "a node is cut off for 30 s", "once", lambda: cut(30.0), 2),
                ])  # fmt: skip
            finally:
                scene.server.stop()
    finally:
        network.remove()


def main(chosen: str = "") -> int:
    print("| what happens | sent | answered | refused | lost | answered twice | ran twice |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        well = chosen == "network" or on_this_host(Path(folder, "processes"), chosen)
        well &= chosen not in "network" or os.geteuid() != 0 or over_a_network(Path(folder, "network"))
    return int(not well)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
