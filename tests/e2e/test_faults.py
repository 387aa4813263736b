"""Faults as they come in life: workers killed, hung or crashing, queues that overflow, clients that leave."""

from __future__ import annotations

import os
import select
import signal
import socket
from pathlib import Path

import pytest

from .conftest import Serve
from .handlers import PROBE, RECORD
from .live import Gate, LiveServer, eventually, gone, make_model

ONE_WORKER = "minWorkers: 1\nmaxWorkers: 1\n"


def recording(serve: Serve, store: Path, config: str, properties: str = "") -> tuple[LiveServer, Path]:
    """A model that writes down its batches and answers those with `wait` in them once the file `gate` is there."""
    make_model(store, "record", RECORD, config=ONE_WORKER + config)
    seen = store.parent / "seen"
    seen.touch()
    server = serve("record", properties=properties, env={"RECORD_HERE": str(seen)})
    server.ready("record")
    return server, seen


def queued(server: LiveServer) -> int:
    return server.manage("GET", "/models/record").json[0]["jobQueueStatus"]["pendingRequests"]


@pytest.mark.parametrize(
    ("order", "status", "reason"),
    [
        ("kill", 507, "was killed by SIGKILL"),
        ("exit 137", 507, "exited with code 137"),
        ("exit 3", 500, "exited with code 3"),
        ("", 500, "did not answer within 3 s (responseTimeout)"),
    ],
    ids=["kill", "exit 137", "exit 3", "hang"],
)
def test_a_worker_that_dies_or_hangs_fails_its_batch_and_nothing_else(
    serve: Serve, store: Path, tmp_path: Path, order: str, status: int, reason: str
):
    make_model(store, "probe", PROBE, config=ONE_WORKER + ("" if order else "responseTimeout: 3\n"))
    server = serve("probe")
    server.ready("probe")
    first = server.predict("probe", "hello").json["pid"]
    gate = Gate(tmp_path / "gate")
    victim = server.later("probe", f"hold {gate} {order}")
    gate.reached()
    waiting = [server.later("probe", f"queued {i}") for i in range(3)]
    eventually(lambda: victim.done() or sum(server.accepted("probe")) == 4)
    if order:
        gate.open()
    answer = victim.result()
    assert answer.status == status
    assert answer.message.startswith("Worker died. W-9000-probe_1.0 of model probe ")
    assert reason in answer.message
    assert [each.result().status for each in waiting] == [200, 200, 200]
    assert waiting[0].result().json["pid"] != first
    eventually(lambda: gone(first))
    server.until_logged("Retry worker: 9000 in 0 seconds.")
    assert order or server.has_logged("(responseTimeout). Its threads, the innermost call first")


def test_a_worker_killed_from_outside_while_idle_is_replaced(serve: Serve, store: Path):
    make_model(store, "probe", PROBE)
    server = serve("probe")
    server.ready("probe")
    first = server.predict("probe", "hello").json["pid"]
    os.kill(first, signal.SIGKILL)
    server.until_logged("Retry worker: 9000")
    answer = server.predict("probe", "hello")
    assert answer.status == 200
    assert answer.json["pid"] != first
    the_spare_of_a_killed_worker_serves(server, store)


def the_spare_of_a_killed_worker_serves(server: LiveServer, store: Path) -> None:
    """Kill the worker of another model of the same server, which has a warm spare."""
    make_model(store, "spared", PROBE, config=ONE_WORKER + "warmSpare: true\n")
    assert server.manage("POST", "/models?url=spared").status == 200

    def spare() -> int:
        """Return the pid of the worker that stands by, 0 while there is none that has loaded."""
        described = server.manage("GET", "/models/spared").json[0].get("warmSpare", {})
        return described["pid"] if described.get("status") == "SPARE" else 0

    stands_by = eventually(spare)
    first = server.predict("spared", "hello").json["pid"]
    assert first != stands_by
    os.kill(first, signal.SIGKILL)
    server.until_logged(", the warm spare, takes over from W-")
    assert server.predict("spared", "hello").json["pid"] == stands_by
    assert eventually(spare) not in {first, stands_by}, "the killed one's successor stands by"


def test_a_full_queue_refuses_exactly_the_excess_and_says_so(serve: Serve, store: Path):
    server, seen = recording(serve, store, "batchSize: 1\njobQueueSize: 5\n")
    held = server.later("record", "wait")
    eventually(lambda: seen.read_text())
    waiting = [server.later("record", f"q{i}") for i in range(5)]
    eventually(lambda: queued(server) == 5)
    refused = [server.predict("record", "over") for _ in range(3)]
    assert [answer.status for answer in refused] == [503, 503, 503]
    assert refused[0].json["type"] == "ServiceUnavailableException"
    assert "5 requests wait (job_queue_size=5)" in refused[0].message
    (store.parent / "gate").touch()
    assert [each.result().status for each in [held, *waiting]] == [200] * 6
    assert "over" not in seen.read_text()


@pytest.mark.parametrize("policy", ["adaptive", "eager"])
def test_batches_form_under_load_in_order_and_never_too_large(serve: Serve, store: Path, policy: str):
    server, seen = recording(serve, store, f"batchSize: 3\nmaxBatchDelay: 60000\nbatchPolicy: {policy}\n")
    held = server.later("record", "wait")
    eventually(lambda: seen.read_text())
    waiting = []
    for i in range(7):
        waiting.append(server.later("record", f"q{i}"))
        eventually(lambda i=i: queued(server) == i + 1)
    (store.parent / "gate").touch()
    assert [each.result().body.decode() for each in [held, *waiting]] == ["wait", *(f"q{i}" for i in range(7))]
    batches = [line.split(",") for line in seen.read_text().split()]
    assert [body for batch in batches for body in batch] == ["wait", *(f"q{i}" for i in range(7))]
    if policy == "eager":  # adaptive goes by what it measured
        assert [len(batch) for batch in batches] == [1, 3, 3, 1]
    assert max(len(batch) for batch in batches) <= 3


def test_a_lone_request_does_not_wait_for_a_batch(serve: Serve, store: Path):
    server, _ = recording(serve, store, "batchSize: 8\nmaxBatchDelay: 600000\n")
    assert server.later("record", "alone").result().body == b"alone"


def test_a_request_whose_client_has_gone_is_not_run(serve: Serve, store: Path):
    server, seen = recording(serve, store, "batchSize: 1\n")
    held = server.later("record", "wait")
    eventually(lambda: seen.read_text())
    request = b"POST /predictions/record HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ngone"
    with socket.create_connection(("127.0.0.1", server.ports["Inference"])) as client:
        client.sendall(request)
        eventually(lambda: queued(server) == 1)
    eventually(lambda: queued(server) == 0)
    (store.parent / "gate").touch()
    assert held.result().status == 200
    assert server.predict("record", "after").status == 200
    assert seen.read_text().split() == ["wait", "after"]


def test_a_request_that_waits_too_long_is_answered(serve: Serve, store: Path):
    server, seen = recording(serve, store, "batchSize: 1\nclientTimeoutInMills: 200\n")
    held = server.later("record", "wait")
    eventually(lambda: seen.read_text())
    late = server.predict("record", "late")
    assert late.status == 504
    assert "clientTimeoutInMills=200" in late.message
    (store.parent / "gate").touch()
    assert held.result().status == 200
    assert "late" not in seen.read_text()


def test_workers_end_with_a_server_that_is_killed_and_the_next_one_sweeps(serve: Serve, store: Path, tmp_path: Path):
    make_model(store, "probe", PROBE)
    server = serve("probe")
    server.ready("probe")
    worker = server.predict("probe", "hello").json["pid"]
    busy = server.later("probe", "sleep 60")
    os.kill(server.process.pid, signal.SIGKILL)
    eventually(lambda: gone(worker))
    with pytest.raises(OSError):
        busy.result()
    left = list(server.temp.glob("torchserve-*"))
    assert len(left) == 1
    second = serve("probe")
    second.ready("probe")
    assert left[0] not in set(server.temp.iterdir())


def test_slow_clients_do_not_hold_up_others(serve: Serve, store: Path):
    """Half a request each from many clients: the others are served as if they were not there."""
    server, _ = recording(serve, store, "batchSize: 4\nmaxBatchDelay: 50\n")
    head = b"POST /predictions/record HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
    slow = [socket.create_connection(("127.0.0.1", server.ports["Inference"])) for _ in range(50)]
    try:
        for client in slow:
            client.sendall(head)
        assert all(server.predict("record", f"fast {i}").status == 200 for i in range(20))
        assert select.select(slow, [], [], 0)[0] == [], "none of them was given up before the others had their answers"
    finally:
        for client in slow:
            client.close()
