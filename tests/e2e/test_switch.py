"""A rolling switch of a model's version: every request sent meanwhile is answered once, and none waits for the old one."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .conftest import Serve
from .handlers import RECORD
from .live import LiveServer, eventually, make_model

CLIENTS = 4
ONE_WORKER = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\n"


@pytest.fixture
def seen(store: Path) -> Path:
    """Where both versions write down each request they are given."""
    path = store.parent / "seen"
    path.touch()
    return path


@pytest.fixture
def server(serve: Serve, store: Path, seen: Path) -> LiveServer:
    """Version 1.0 serves; 2.0 is in the store. Each answer is the request's text."""
    for version in ("1.0", "2.0"):
        folder = make_model(store, f"v{version}", RECORD, config=ONE_WORKER)
        manifest = {
            "modelName": "m",
            "modelVersion": version,
            "handler": "handler.py",
            "configFile": "model-config.yaml",
        }
        (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"model": manifest}))
    live = serve("m=v1.0", env={"RECORD_HERE": str(seen)})
    live.ready("m")
    return live


def switch(server: LiveServer) -> None:
    assert server.manage("POST", "/models?url=v2.0").status == 200
    assert server.manage("PUT", "/models/m/2.0/set-default").status == 200
    assert server.manage("DELETE", "/models/m/1.0").status == 200


def recorded(seen: Path) -> list[str]:
    return seen.read_text().replace("\n", ",").strip(",").split(",")


def test_under_load_every_request_is_run_once_and_answered(server: LiveServer, seen: Path) -> None:
    over = threading.Event()

    def client(number: int) -> list[str]:
        sent: list[str] = []
        while not over.is_set():
            sent.append(f"{number}-{len(sent)}")
            answer = server.predict("m", sent[-1].encode())
            assert (answer.status, answer.body.decode()) == (200, sent[-1])
        return sent

    with ThreadPoolExecutor(CLIENTS) as clients:
        running = [clients.submit(client, number) for number in range(CLIENTS)]
        try:
            eventually(lambda: len(recorded(seen)) > 10)
            switch(server)
            after = len(recorded(seen))
            eventually(lambda: len(recorded(seen)) > after + 10)
        finally:
            over.set()
        sent = [text for each in running for text in each.result()]
    assert sorted(recorded(seen)) == sorted(sent)
    assert [entry["modelVersion"] for entry in server.manage("GET", "/models/m/all").json] == ["2.0"]


def test_nobody_waits_for_what_the_old_version_still_runs(server: LiveServer, seen: Path) -> None:
    """The old version's worker is held, so whatever waited for it would wait until the gate is opened."""
    held = server.later("m", b"wait")
    eventually(lambda: "wait" in seen.read_text())
    queued = [server.later("m", f"queued-{n}".encode()) for n in range(3)]
    eventually(lambda: server.manage("GET", "/models/m").json[0]["jobQueueStatus"]["pendingRequests"] == 3)
    late = socket.create_connection(("127.0.0.1", server.ports["Inference"]))
    late.sendall(b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nla")

    assert server.manage("POST", "/models?url=v2.0").status == 200
    assert server.manage("PUT", "/models/m/2.0/set-default").status == 200
    assert server.predict("m", b"during").body == b"during"
    with ThreadPoolExecutor(1) as pool:
        removing = pool.submit(server.manage, "DELETE", "/models/m/1.0")
        eventually(lambda: server.manage("GET", "/models/m/1.0").status == 404)
        assert [server.predict("m", f"after-{n}".encode()).body for n in range(5)] == [
            b"after-%d" % n for n in range(5)
        ]
        late.sendall(b"te")
        late.settimeout(30)
        assert late.recv(4096).startswith(b"HTTP/1.1 200"), "its body began before the switch and ended after it"
        late.close()
        assert not any(request.done() for request in (held, removing, *queued))
        (seen.parent / "gate").touch()
        assert [request.result().body for request in (held, *queued)] == [
            b"wait",
            b"queued-0",
            b"queued-1",
            b"queued-2",
        ]
        assert removing.result().status == 200
