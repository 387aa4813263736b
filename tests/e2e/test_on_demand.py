"""onDemand models: more of them than GPU memory holds, on a stand-in for NVIDIA's driver library."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ..standins.nvml import FakeNvml
from .conftest import Serve
from .handlers import PROBE
from .live import Gate, LiveServer, eventually, make_model
from .test_autoscale import crowd

SIZED = "minWorkers: 1\nmaxWorkers: 1\nmaxRetryTimeoutInSec: 1\ngpuMemory: 50 GiB\n"
ON_DEMAND = SIZED + "onDemand: true\nminResidency: 0\n"


@pytest.fixture
def host(fake_nvml: FakeNvml) -> FakeNvml:
    """One GPU of 80 GiB: room for one model of 50."""
    fake_nvml.set({"count": 1, "0.uuid": "GPU-aaaa"})
    return fake_nvml


@pytest.fixture
def properties(tmp_path: Path) -> str:
    return f"gpu_lease_folder={tmp_path}/leases\ngpu_check_interval=1"


def loaded(server: LiveServer, *models: str) -> list[str]:
    return [name for name in models if server.workers(name, "READY")]


def test_more_models_than_memory_and_all_of_them_answer(
    serve: Serve, store: Path, host: FakeNvml, properties: str, tmp_path: Path
):
    names = ("one", "two", "three")
    for name in names:
        make_model(store, name, PROBE, config=ON_DEMAND)
    server = serve("one", env=host.env, properties=properties)
    server.ready("one")
    for name in names[1:]:  # registered, and not in anybody's way before it is asked
        assert server.manage("POST", f"/models?url={name}").status == 200
    assert loaded(server, *names) == ["one"]
    causes = {"one": "unloaded", "two": "not_loaded", "three": "not_loaded"}
    for name in ("two", "three", "one", "three", "three"):
        before = loaded(server, *names)
        answer = server.predict(name, "pid")
        assert answer.json["visible"] == "GPU-aaaa"
        eventually(lambda name=name: loaded(server, *names) == [name])
        waited = float(answer.headers.get("x-torchserve-load-wait-ms", 0))
        if name not in before:
            server.until_logged(f'Model "{name}" version 1.0 comes back for a request')
            server.until_logged(f'Model "{name}" version 1.0 serves after ')
            assert waited > 0
            assert answer.headers["x-torchserve-load-wait-cause"] == causes[name]
            causes[name] = "unloaded"
            assert server.manage("GET", f"/models/{name}").json[0]["onDemand"]["status"] == "READY"
        else:
            assert not waited
        files = [json.loads(path.read_text()) for path in (tmp_path / "leases").glob("*.leases")]
        assert [lease["model"] for file in files for lease in file["leases"]] == [name]
        assert server.call("Inference", "GET", "/ping").json == {"status": "Healthy"}
        assert server.call("Inference", "GET", "/health/ready").status == 200
    metrics = server.call("Metrics", "GET", "/metrics").body.decode()
    counted = re.search(r'torchserve_load_wait_duration_seconds_count{model_name="three",.*} (\d+)', metrics)
    assert counted is not None
    assert counted[1] == "2"
    assert server.manage("GET", "/models/one").json[0]["onDemand"]["unloadedFor"].endswith("-three_1.0")
    for name in names:
        assert server.manage("GET", f"/v1/models/{name}").json == {"name": name, "ready": True}
        assert server.manage("DELETE", f"/models/{name}").status == 200


def test_many_at_once_are_all_served_in_turn(serve: Serve, store: Path, host: FakeNvml, properties: str):
    names = ("one", "two", "three")
    for name in names:
        make_model(store, name, PROBE, config=ON_DEMAND)
    server = serve(*names, env=host.env, properties=properties)
    eventually(lambda: loaded(server, *names))
    asked = [(name, server.later(name, "pid")) for _ in range(4) for name in names]
    assert [(name, answer.result().status) for name, answer in asked] == [(name, 200) for name, _ in asked]


def test_who_is_busy_or_has_just_come_is_waited_for(
    serve: Serve, store: Path, host: FakeNvml, properties: str, tmp_path: Path
):
    make_model(store, "one", PROBE, config=ON_DEMAND.replace("minResidency: 0", "minResidency: 3"))
    make_model(store, "two", PROBE, config=ON_DEMAND)
    server = serve("one", env=host.env, properties=properties)
    server.ready("one")
    assert server.manage("POST", "/models?url=two").status == 200
    gate = Gate(tmp_path / "gate")
    held = server.later("one", f"hold {gate}")
    gate.reached()
    waiting = server.later("two", "pid")
    server.until_logged("two_1.0 waits: no GPU has 51200 MiB for it")
    assert not waiting.done()
    gate.open()
    assert held.result().status == 200
    assert waiting.result().status == 200
    eventually(lambda: loaded(server, "one", "two") == ["two"])


def test_one_that_is_never_idle_has_to_share_all_the_same(serve: Serve, store: Path, host: FakeNvml, properties: str):
    for name in ("one", "two"):
        make_model(store, name, PROBE, config=ON_DEMAND)
    server = serve("one", env=host.env, properties=properties)
    server.ready("one")
    assert server.manage("POST", "/models?url=two").status == 200
    with crowd(server, "one", 4) as statuses:
        eventually(lambda: statuses[200] > 20)
        assert server.predict("two", "pid").status == 200
        served = statuses[200]
        eventually(lambda: statuses[200] > served + 20)
    assert statuses.keys() == {200}


def test_a_model_that_stays_makes_them_go_and_they_do_not_make_it_go(
    serve: Serve, store: Path, host: FakeNvml, properties: str
):
    make_model(store, "guest", PROBE, config=ON_DEMAND.replace("minResidency: 0", "minResidency: 3600"))
    make_model(store, "owner", PROBE, config=SIZED)
    server = serve("guest", env=host.env, properties=properties)
    server.ready("guest")
    assert server.manage("POST", "/models?url=owner").status == 200
    assert loaded(server, "guest", "owner") == ["owner"]
    refused = server.predict("guest", "pid")
    assert refused.status == 503
    assert "can't be placed: no GPU has 51200 MiB for it" in refused.message
    assert server.predict("owner", "pid").status == 200
    assert server.call("Inference", "GET", "/ping").json == {"status": "Healthy"}
    assert server.manage("DELETE", "/models/owner").status == 200
    assert server.predict("guest", "pid").json["visible"] == "GPU-aaaa"
