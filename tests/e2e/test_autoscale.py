"""Workers that come and go with the load, between minWorkers and maxWorkers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..standins.nvml import GIB, FakeNvml
from .conftest import Serve
from .live import LiveServer, eventually, make_model

SLOW = """
import time

def handle(data, context):
    if data is None:
        return None
    time.sleep(0.1)
    return ["slept"] * len(data)
"""
BOUNDS = "minWorkers: 1\nmaxWorkers: 3\nscaleDownAfter: 1\n"


@contextmanager
def crowd(server: LiveServer, model: str, clients: int = 8, pause: float = 0.0) -> Iterator[Counter[int]]:
    """So many clients, each of which asks again `pause` seconds after it has its answer; counts the statuses."""
    statuses: Counter[int] = Counter()
    over = threading.Event()

    def ask() -> None:
        while not over.wait(pause):
            statuses[server.predict(model, "x").status] += 1

    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(ask) for _ in range(clients)]
        try:
            yield statuses
        finally:
            over.set()
    assert [each.exception() for each in asking] == [None] * clients


def serving(server: LiveServer, model: str) -> int:
    return len(server.workers(model, "READY"))


def test_workers_come_with_a_crowd_and_leave_after_it_and_no_answer_is_lost(serve: Serve, store: Path):
    make_model(store, "slow", SLOW, BOUNDS.replace("3", "2"))  # a third one is tried after 15 s
    server = serve("slow")
    server.ready("slow")
    with crowd(server, "slow") as statuses:
        eventually(lambda: serving(server, "slow") == 2)
        entry = server.manage("GET", "/models/slow").json[0]
        assert (entry["minWorkers"], entry["maxWorkers"]) == (1, 2)
    with crowd(server, "slow", 1, 0.3) as few:
        eventually(lambda: serving(server, "slow") == 1)
    assert statuses.keys() == few.keys() == {200}
    server.until_logged('Model "slow" version 1.0: 1 workers become ')
    # The bounds are PUT's to set, and its answer counts the workers that there are.
    put = server.manage("PUT", "/models/slow?min_worker=2&max_worker=4&synchronous=true")
    assert put.json == {"status": "Workers scaled to 2 for model: slow"}
    assert serving(server, "slow") == 2
    assert server.manage("PUT", "/models/slow?min_worker=1&max_worker=4&synchronous=true").status == 200
    eventually(lambda: serving(server, "slow") == 1)
    assert server.manage("DELETE", "/models/slow").status == 200


@pytest.mark.thorough
def test_where_it_is_off_and_where_there_is_no_choice_the_number_stays(serve: Serve, store: Path):
    make_model(store, "off", SLOW, "minWorkers: 1\nmaxWorkers: 3\nautoscale: false\n")
    make_model(store, "one", SLOW, "minWorkers: 1\nmaxWorkers: 1\n")
    server = serve("off", "one")
    server.ready("off")
    server.ready("one")
    with crowd(server, "off") as off, crowd(server, "one") as one:
        eventually(lambda: off[200] > 60 and one[200] > 60)
        assert len(server.workers("off")) == len(server.workers("one")) == 1
    assert not server.has_logged("workers become")


def test_a_worker_that_does_not_fit_hurts_nobody(serve: Serve, store: Path, fake_nvml: FakeNvml, tmp_path: Path):
    fake_nvml.set({"count": 1, "0.used": 20 * GIB})
    make_model(store, "slow", SLOW, BOUNDS + "gpuMemory: 50 GiB\n")
    server = serve("slow", env=fake_nvml.env, properties=f"gpu_lease_folder={tmp_path}/leases")
    server.ready("slow")
    with crowd(server, "slow") as statuses:
        server.until_logged('Model "slow" version 1.0 stays with the workers it has: ')
        eventually(lambda: len(server.workers("slow")) == 1)
        assert server.call("Inference", "GET", "/ping").json == {"status": "Healthy"}
        assert server.call("Inference", "GET", "/health/ready").status == 200
    assert statuses.keys() == {200}


def test_requests_that_job_tickets_turn_away_count_as_a_crowd(serve: Serve, store: Path):
    make_model(store, "slow", SLOW, BOUNDS + "useJobTicket: true\n")
    server = serve("slow")
    server.ready("slow")
    with crowd(server, "slow", 6) as statuses:
        eventually(lambda: serving(server, "slow") >= 2)
    assert statuses.keys() == {200, 503}
