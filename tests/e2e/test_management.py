"""Models come and go while the server runs: TorchServe's statuses, texts and keys, and no traces of what failed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .handlers import BROKEN, ECHO
from .live import LiveServer, eventually, make_model

DESCRIBED = (
    "modelName modelVersion modelUrl runtime minWorkers maxWorkers batchSize maxBatchDelay responseTimeout startupTimeout "
    "maxRetryTimeoutInSec clientTimeoutInMills parallelType parallelLevel deviceType continuousBatching useJobTicket useVenv "
    "stateful sequenceMaxIdleMSec sequenceTimeoutMSec maxNumSequence maxSequenceJobQueueSize loadedAtStartup workers "
    "jobQueueStatus"
).split()
NO_WORKERS = "batchSize: 2\n"


def fill(store: Path) -> None:
    """With an echo in two versions and a model that does not load."""
    make_model(store, "echo", ECHO, config=NO_WORKERS)
    (make_model(store, "echo2", ECHO, config=NO_WORKERS, version="2.0") / "MAR-INF" / "MANIFEST.json").write_text(
        json.dumps({"model": {"modelName": "echo", "modelVersion": "2.0", "handler": "handler.py"}})
    )
    make_model(store, "broken", BROKEN, config=NO_WORKERS)


@pytest.fixture(scope="module")
def unmoved(home: Path) -> Iterator[LiveServer]:
    """A server without models, for requests that leave it as it is."""
    fill(home / "store")
    server = LiveServer(home, ()).wait()
    yield server
    assert server.manage("GET", "/models").json == {"models": []}
    assert server.stop() == 0


@pytest.fixture
def empty(unmoved: LiveServer) -> Iterator[LiveServer]:
    """The same, without models once more after the test."""
    yield unmoved
    for model in unmoved.manage("GET", "/models").json["models"]:
        assert unmoved.manage("DELETE", f"/models/{model['modelName']}").status == 200


def status_of(answer) -> tuple[int, str]:
    return answer.status, answer.json.get("status") or answer.message


def test_a_models_life(empty: LiveServer):
    ask = empty.manage
    assert status_of(ask("POST", "/models?url=echo&initial_workers=1")) == (
        200, 'Model "echo" Version: 1.0 registered with 1 initial workers',
    )  # fmt: skip
    assert empty.predict("echo", b"one").body == b"one"
    assert status_of(ask("POST", "/models?url=echo")) == (409, "Model version 1.0 is already registered for model echo")
    assert status_of(ask("POST", "/models?url=echo2")) == (
        200,
        'Model "echo" Version: 2.0 registered with 0 initial workers.'
        " Use scale workers API to add workers for the model.",
    )
    assert empty.call("Inference", "POST", "/predictions/echo/2.0", b"x").status == 503
    assert status_of(ask("PUT", "/models/echo/2.0?min_worker=2&synchronous=true")) == (
        200, "Workers scaled to 2 for model: echo, version: 2.0",
    )  # fmt: skip
    assert empty.call("Inference", "POST", "/predictions/echo/2.0", b"two").body == b"two"
    assert status_of(ask("PUT", "/models/echo/2.0/set-default")) == (
        200, 'Default version successfully updated for model "echo" to "2.0"',
    )  # fmt: skip
    assert [entry["modelVersion"] for entry in ask("GET", "/models/echo/all").json] == ["1.0", "2.0"]
    assert ask("GET", "/models/echo").json[0]["modelVersion"] == "2.0"
    assert status_of(ask("DELETE", "/models/echo/2.0")) == (403, "Cannot remove default version for model echo")
    assert status_of(ask("DELETE", "/models/echo/1.0")) == (200, 'Model "echo" unregistered')
    assert status_of(ask("PUT", "/models/echo?min_worker=1")) == (202, "Processing worker updates...")
    eventually(lambda: len(empty.workers("echo", "READY")) >= 1)
    assert status_of(ask("DELETE", "/models/echo/")) == (200, 'Model "echo" unregistered')
    assert ask("GET", "/models").json == {"models": []}
    assert empty.predict("echo", b"x").status == 404


def test_describe_has_torchserves_keys_in_order(empty: LiveServer):
    empty.manage("POST", "/models?url=echo&initial_workers=1&batch_size=4&max_batch_delay=7")
    entry = empty.manage("GET", "/models/echo").json[0]
    assert list(entry) == DESCRIBED
    assert (entry["batchSize"], entry["maxBatchDelay"], entry["minWorkers"]) == (4, 7, 1)
    assert list(entry["workers"][0]) == ["id", "startTime", "status", "memoryUsage", "pid", "gpu", "gpuUsage"]
    assert entry["jobQueueStatus"] == {"remainingCapacity": 100, "pendingRequests": 0}


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("POST", "/models", 400, "BadRequestException"),
        ("POST", "/models?url=", 404, "ModelNotFoundException"),
        ("POST", "/models?url=missing.mar", 404, "ModelNotFoundException"),
        ("POST", "/models?url=../echo", 404, "ModelNotFoundException"),
        ("POST", "/models?url=echo&runtime=python4", 400, "BadRequestException"),
        ("POST", "/models?url=broken&initial_workers=1", 500, "InternalServerException"),
        ("GET", "/models/nobody", 404, "ModelNotFoundException"),
        ("PUT", "/models/nobody", 404, "ModelNotFoundException"),
        ("DELETE", "/models/nobody", 404, "ModelNotFoundException"),
        ("PUT", "/models/nobody/1.0/set-default", 404, "ModelNotFoundException"),
        ("POST", "/models/nobody", 405, "MethodNotAllowedException"),
        ("GET", "/nowhere", 404, "ResourceNotFoundException"),
    ],
)
def test_what_is_refused(unmoved: LiveServer, method: str, path: str, status: int, kind: str):
    answer = unmoved.manage(method, path)
    assert (answer.status, answer.json["type"]) == (status, kind)
    assert answer.message


def test_a_registration_that_fails_leaves_nothing(empty: LiveServer):
    store = empty.store
    with zipfile.ZipFile(store / "evil.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", '{"model": {"modelName": "evil", "handler": "h.py"}}')
        archive.writestr("../../escaped.py", "")
    (store / "torn.mar").write_bytes((store / "evil.mar").read_bytes()[:-30])
    with zipfile.ZipFile(store / "broken.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", '{"model": {"modelName": "broken", "handler": "h.py"}}')
        archive.writestr("h.py", BROKEN)
    before = sorted(path for path in empty.home.rglob("*") if "logs" not in path.parts)
    for url, status, text in [
        ("evil.mar", 400, "evil.mar"),
        ("torn.mar", 400, "torn.mar"),
        ("broken.mar&initial_workers=1", 500, "RuntimeError: weights are missing"),
    ]:
        answer = empty.manage("POST", f"/models?url={url}")
        assert answer.status == status
        assert text in answer.message
    assert empty.manage("GET", "/models").json == {"models": []}
    assert sorted(path for path in empty.home.rglob("*") if "logs" not in path.parts) == before


def test_unregistering_removes_what_was_unpacked(empty: LiveServer):
    store = empty.store
    with zipfile.ZipFile(store / "packed.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", '{"model": {"modelName": "packed", "handler": "h.py"}}')
        archive.writestr("h.py", ECHO)
    before = sorted(empty.temp.rglob("*"))
    assert empty.manage("POST", "/models?url=packed.mar&initial_workers=1").status == 200
    assert empty.predict("packed", b"x").body == b"x"
    assert sorted(empty.temp.rglob("*")) != before
    assert empty.manage("DELETE", "/models/packed").status == 200
    assert sorted(empty.temp.rglob("*")) == before
    assert (store / "packed.mar").exists()


def test_registering_with_a_json_body(empty: LiveServer):
    body = json.dumps({"url": "echo", "initial_workers": "1", "batch_size": 3}).encode()
    assert empty.manage("POST", "/models", body, content_type="application/json").status == 200
    entry = empty.manage("GET", "/models/echo").json[0]
    assert (entry["batchSize"], entry["maxBatchDelay"]) == (3, 100)
    assert empty.manage("POST", "/models", b"{", content_type="application/json").status == 400


def test_listing_in_pages(empty: LiveServer):
    for name in "abc":
        assert empty.manage("POST", f"/models?url=echo&model_name={name}").status == 200
    first = empty.manage("GET", "/models?limit=2").json
    assert [model["modelName"] for model in first["models"]] == ["a", "b"]
    rest = empty.manage("GET", f"/models?limit=2&next_page_token={first['nextPageToken']}").json
    assert rest == {"models": [{"modelName": "c", "modelUrl": "echo"}]}


@pytest.mark.parametrize("name", ["a%00b", "a%0Ab", "a%1B%5B2J", "a%2Fb", "n" * 3000])
def test_a_name_that_is_none_is_a_400_and_the_server_goes_on(empty: LiveServer, name: str) -> None:
    """NUL hung the registration, and then the stop."""
    for query in (f"url=echo&model_name={name}", f"url=echo&model_name={name}&initial_workers=1&synchronous=true"):
        answer = empty.manage("POST", f"/models?{query}")
        assert (answer.status, answer.json["type"]) == (400, "BadRequestException")
        assert answer.json["message"].startswith("Invalid model name 'a" if name[0] == "a" else "Invalid model name 'n")
    assert empty.manage("GET", "/models").json == {"models": []}
