"""Versions that share traffic, answers that are kept, and clients with limits, on the real server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from .live import LiveServer, eventually, make_model

VERSIONED = """
def handle(data, context):
    return data and [context.manifest["model"]["modelVersion"]] * len(data)
"""
COUNTS = """
count = 0

def handle(data, context):
    global count
    if data is None:
        return None
    count += len(data)
    told = context.get_request_header(0, "x-forwarded-host")
    return [f"{count} {told}"] * len(data)
"""
ONE = "minWorkers: 1\nmaxWorkers: 1\n"


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[LiveServer]:
    make_model(home / "store", "one", VERSIONED, ONE)
    make_model(home / "store", "two", VERSIONED, ONE, version="2.0")
    make_model(home / "store", "kept", COUNTS, f"{ONE}cache: {{ttl: 3600, maxBytes: 1MB}}\n")
    limits = '{"limited": {"requestsPerSecond": 0.001, "burst": 2}}'
    started = LiveServer(
        home, ["m=one", "kept"], properties=f"fair_share_header=x-client\nclient_limits={limits}"
    ).wait()
    assert started.manage("POST", "/models?url=two&model_name=m").status == 200
    for name in ("m", "kept"):
        started.ready(name)
    eventually(lambda: started.manage("GET", "/models/m/2.0").json[0]["workers"][0]["status"] == "READY")
    yield started
    started.stop()


def served(server: LiveServer, path: str, count: int, **headers: str) -> Counter[bytes]:
    return Counter(server.call("Inference", "POST", path, b"x", **headers).body for _ in range(count))


@pytest.mark.parametrize("path", ["/predictions/m", "/v1/models/m:predict", "/v2/models/m/infer", "/m/predict"])
def test_every_door_shares_the_traffic_of_a_model(server: LiveServer, path: str) -> None:
    assert server.manage("PUT", "/models/m/traffic?1.0=75&2.0=25").status == 200
    assert served(server, path, 20) == {b"1.0": 15, b"2.0": 5}
    assert len(served(server, path, 10, x_client="c")) == 2
    assert server.manage("GET", "/models/m").json[0]["traffic"] == {"weights": {"1.0": 75, "2.0": 25}}
    assert server.manage("DELETE", "/models/m/2.0").status == 409
    assert server.manage("PUT", "/models/m/traffic?1.0=75&2.0=24").status == 400
    assert server.manage("DELETE", "/models/m/traffic").status == 200
    assert served(server, path, 4) == {b"1.0": 4}


def test_a_shadow_gets_copies_and_is_compared(server: LiveServer) -> None:
    assert server.manage("PUT", "/models/m/traffic?shadow=2.0").status == 200
    assert served(server, "/predictions/m", 3) == {b"1.0": 3}
    eventually(lambda: server.manage("GET", "/models/m/traffic").json["shadow"]["different"] == 3)
    server.manage("DELETE", "/models/m/traffic")


def test_an_answer_is_kept_with_its_tag_until_it_is_purged(server: LiveServer) -> None:
    first = server.call("Inference", "POST", "/predictions/kept", b"a", X_Forwarded_Host="evil.example")
    assert (first.body, first.headers["x-torchserve-cache"]) == (b"1 None", "miss")
    again = server.call("Inference", "POST", "/predictions/kept", b"a")
    assert (again.body, again.headers["x-torchserve-cache"]) == (b"1 None", "hit")
    assert again.headers["cache-control"].startswith("private, max-age=")
    known = server.call("Inference", "POST", "/predictions/kept", b"a", If_None_Match=again.headers["etag"])
    assert (known.status, known.body) == (304, b"")
    mine = server.call("Inference", "POST", "/predictions/kept", b"a", Authorization="Bearer other")
    assert (mine.body, mine.headers["x-torchserve-cache"]) == (b"2 None", "miss")
    assert server.manage("DELETE", "/models/kept/cache").json == {"status": '2 answers of model "kept" dropped'}
    assert server.call("Inference", "POST", "/predictions/kept", b"a").body == b"3 None"
    shown = server.manage("GET", "/models/kept").json[0]["cache"]
    assert (shown["answers"], shown["hit"], shown["miss"]) == (1, 2, 3)


def test_a_client_past_its_limit_is_told_when_to_come_again(server: LiveServer) -> None:
    answers = [server.call("Inference", "POST", "/predictions/m", b"x", X_Client="limited") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert "requestsPerSecond" in answers[2].message
    assert 900 < int(answers[2].headers["retry-after"]) <= 1000
    assert served(server, "/predictions/m", 3, x_client="another") == {b"1.0": 3}
