"""What a client may ask of the scheduler: an answer in time or none, and its place in the queue."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from math import ceil
from pathlib import Path

import pytest

from .conftest import Serve
from .handlers import ECHO
from .live import Gate, LiveServer, eventually, make_model
from .test_faults import ONE_WORKER, queued, recording

SLOW = """
import time

def handle(data, context):
    if data is None:
        return None
    time.sleep(0.3)
    return ["slept"] * len(data)
"""


def slow(serve: Serve, store: Path, config: str = "") -> LiveServer:
    """A worker of which it is known that it takes 300 ms."""
    make_model(store, "slow", SLOW, config=ONE_WORKER + config)
    server = serve("slow")
    server.ready("slow")
    assert server.predict("slow", "x").status == 200
    return server


@pytest.mark.parametrize(("config", "header"), [("", "100"), ("latencySlo: 100\n", ""), ("latencySlo: 60000\n", "100")])
def test_what_can_not_be_in_time_is_refused_at_once(serve: Serve, store: Path, config: str, header: str):
    server = slow(serve, store, config)
    headers = {"x_request_timeout_ms": header} if header else {}
    answer = server.predict("slow", "x", **headers)
    assert answer.status == 503
    assert answer.json["type"] == "ServiceUnavailableException"
    told = re.match(
        r'Model "slow" version 1.0 would answer this request too late: in about (\d+) ms, of', answer.message
    )
    assert told is not None
    assert int(told[1]) >= 300
    assert int(answer.headers["retry-after"]) == ceil((int(told[1]) - 100) / 1000)
    assert " of 100 ms that it has" in answer.message
    assert server.predict("slow", "x", x_request_timeout_ms="30000").status == (200 if header or not config else 503)
    scraped = server.call("Metrics", "GET", "/metrics").body.decode()
    assert 'torchserve_requests_refused_total{model_name="slow",model_version="1.0",reason="too_late"' in scraped


def test_one_that_waits_past_its_own_limit_is_answered(serve: Serve, store: Path):
    server, seen = recording(serve, store, "batchSize: 1\n")
    held = server.later("record", "wait")
    eventually(lambda: seen.read_text())
    late = server.predict("record", "late", x_request_timeout_ms="200")
    assert late.status == 504
    assert "x-request-timeout-ms=200" in late.message
    (store.parent / "gate").touch()
    assert held.result().status == 200
    assert "late" not in seen.read_text()


def test_priorities_go_before_arrival(serve: Serve, store: Path):
    server, seen = recording(serve, store, "batchSize: 1\n")
    held = server.later("record", "wait")
    eventually(lambda: seen.read_text())
    with ThreadPoolExecutor() as clients:
        waiting = []
        for at, (body, priority) in enumerate([("d", "0"), ("e", "5"), ("b", "-1"), ("a", "-9"), ("c", "-1")]):
            waiting.append(clients.submit(server.predict, "record", body, x_request_priority=priority))
            eventually(lambda at=at: queued(server) == at + 1)
        (store.parent / "gate").touch()
        assert [each.result().status for each in [held, *waiting]] == [200] * 6
    assert seen.read_text().split() == ["wait", "a", "b", "c", "d", "e"]


def test_wishes_that_make_no_sense_are_refused(serve: Serve, store: Path):
    make_model(store, "record", ECHO)
    server = serve("record")
    server.ready("record")
    for value in ("0", "-5", "1.5", "9" * 20, "soon", " "):
        answer = server.predict("record", "x", x_request_timeout_ms=value)
        assert answer.status == 400, value
        assert answer.message == "x-request-timeout-ms must be a whole number from 1 to 2147483647."
    for value in ("10", "-10", "high", "+1"):
        answer = server.predict("record", "x", x_request_priority=value)
        assert answer.status == 400, value
        assert "from -9 (first) to 9 (last)" in answer.message


def test_a_batch_handed_over_ahead_survives_its_worker(serve: Serve, store: Path, tmp_path: Path):
    """The worker dies of one request while the next one lies in its socket: that one is served by its successor.

    The scheduler gives one ahead where it measured that batches are short, so the handler takes no time, and while the
    one before it has not run for long, so the four are sent together, and again if none was. Whether one is given at
    all is the machine's to say; tests/scheduler asks that under virtual time.
    """
    make_model(store, "record", DIES, config=ONE_WORKER)
    server = serve("record")
    server.ready("record")
    for _ in range(5):  # from now on it is known what they take
        assert server.predict("record", "x").status == 200
    deaths = count()

    def one_was_given_ahead() -> bool:
        gate = Gate(tmp_path / f"gate{next(deaths)}")
        victim = server.later("record", f"die {gate}")
        waiting = [server.later("record", f"q{number}") for number in range(3)]
        gate.reached()
        eventually(lambda: sum(server.accepted("record")) == 1 + sum(not each.done() for each in waiting))
        given, _ = server.accepted("record")
        gate.open()
        assert victim.result().status == 500
        assert [each.result().body for each in waiting] == [b"q0", b"q1", b"q2"]
        return given == 2

    if not any(one_was_given_ahead() for _ in range(10)):
        pytest.skip("this machine is too slow for a batch to be given ahead")


DIES = """
import os, time

def handle(data, context):
    if data is None:
        return None
    verb, _, gate = data[0]["body"].partition(" ")
    if verb == "die":
        open(gate + ".reached", "w").close()
        while not os.path.exists(gate):
            time.sleep(0.01)
        os._exit(3)
    return [row["body"] for row in data]
"""
