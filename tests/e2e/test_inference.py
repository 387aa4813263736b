"""Predictions through the whole server: what handlers may do, and what is answered when they or the client are wrong."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Serve
from .handlers import BROKEN, ECHO, PROBE, WRONG_COUNT
from .live import LiveServer, eventually, make_model


@pytest.fixture(scope="module")
def probe(home: Path) -> Iterator[LiveServer]:
    make_model(home / "store", "probe", PROBE)
    server = LiveServer(home, ["probe"], properties="max_request_size=100000\nmax_response_size=50000").wait()
    server.ready("probe")
    yield server
    assert server.stop() == 0


def test_what_handlers_do_and_what_clients_get(probe: LiveServer):
    answer = probe.predict("probe", "hello", x_custom="here")
    assert answer.status == 200
    assert answer.json["text"] == "hello"
    assert answer.json["headers"]["x-custom"] == "here"
    assert answer.json["id"] == answer.headers["x-request-id"]
    assert "content-type" not in answer.headers
    for text, status, message in [
        ("raise oops", 503, "Prediction failed"),
        ("memory", 507, "Out of resources"),
        ("cuda", 507, "Out of resources"),
        ("refuse politely", 422, "politely"),
        ("leave", 503, "Prediction failed"),
        ("object", 503, "Unsupported model output data type."),
    ]:
        answer = probe.predict("probe", text)
        assert (answer.status, answer.json["type"]) == (status, "InternalServerException"), text
        assert answer.message.startswith(message), text
    assert probe.predict("probe", "status 201").status == 201
    assert probe.predict("probe", "type text/csv").headers["content-type"] == "text/csv"
    assert probe.predict("probe", "header X-Seen=yes").headers["x-seen"] == "yes"
    too_big = probe.predict("probe", "big 60000")
    assert too_big.status == 500
    assert len(probe.workers("probe", "READY")) == 1, "none of this may cost the worker"
    probe.until_logged("ValueError: oops")  # the traceback belongs into the model log


def test_bodies_become_rows(probe: LiveServer):
    boundary = "b0undary"
    form = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="data"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
        f'file text\r\n--{boundary}\r\nContent-Disposition: form-data; name="extra"\r\n\r\nfield\r\n--{boundary}--\r\n'
    ).encode()
    answer = probe.predict("probe", form, content_type=f"multipart/form-data; boundary={boundary}")
    assert (answer.json["text"], answer.json["names"]) == ("file text", ["data", "extra"])
    answer = probe.predict("probe", b"data=a%20b&x=1", content_type="application/x-www-form-urlencoded")
    assert (answer.json["text"], answer.json["names"]) == ("a b", ["data", "x"])
    assert probe.predict("probe", b'"json text"', content_type="application/json").json["text"] == "json text"


def test_other_names_of_a_prediction(probe: LiveServer):
    assert probe.call("Inference", "GET", "/health/ready").json == {"ready": True}
    for path, explain in [
        ("/predictions/probe", "False"),
        ("/explanations/probe/1.0", "True"),
        ("/v1/models/probe:predict", "False"),
        ("/v2/models/probe/explain", "True"),
        ("/invocations", None),
        ("/models/probe/invoke", None),
        ("/probe/1.0/predict", None),
    ]:
        answer = probe.call("Inference", "PUT", f"{path}?extra=row", b"hello", content_type="text/plain")
        assert (answer.json["text"], answer.json["headers"].get("explain")) == ("hello", explain), path
        assert answer.json["names"] == (["body"] if explain else ["body", "extra"]), path
    assert probe.call("Inference", "POST", "/invocations?model_name=nobody", b"").status == 404


def test_wrong_requests(probe: LiveServer):
    cases = [
        (probe.predict("nobody", b"x"), 404, "ModelNotFoundException", "Model not found: nobody"),
        (
            probe.call("Inference", "POST", "/predictions/probe/7", b"x"), 404, "ModelVersionNotFoundException",
            "Model version: 7 does not exist for model: probe",
        ),
        (
            probe.call("Inference", "GET", "/nowhere"), 404, "ResourceNotFoundException",
            "Requested resource is not found, please refer to API document.",
        ),
        (
            probe.predict("probe", b"--x\r\nbroken", content_type="multipart/form-data; boundary=x"), 400,
            "BadRequestException", "Malformed multipart body",
        ),
        (probe.predict("probe", b'{"a": ', content_type="application/json"), 400, "BadRequestException", "Malformed JSON"),
    ]  # fmt: skip
    for answer, status, kind, message in cases:
        assert (answer.status, answer.json["type"]) == (status, kind)
        assert answer.message.startswith(message)
    assert probe.predict("probe", b"x" * 100_000).status == 200, "exactly the limit is accepted"
    assert probe.predict("probe", b"x" * 100_001).status == 413


def test_a_declared_body_over_the_limit_is_refused_unread(probe: LiveServer):
    with socket.create_connection(("127.0.0.1", probe.ports["Inference"]), timeout=10) as client:
        client.sendall(b"POST /predictions/probe HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n")
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in head.lower()
    assert "max_request_size" in json.loads(body)["message"]


def test_a_model_without_workers_is_503(probe: LiveServer):
    make_model(probe.store, "idle", ECHO, config="batchSize: 2\n")
    assert probe.manage("POST", "/models?url=idle").status == 200
    answer = probe.predict("idle", b"x")
    assert probe.manage("DELETE", "/models/idle").status == 200
    assert answer.status == 503
    assert answer.message.startswith('Model "idle" has no worker to serve inference request.')


def test_a_wrong_number_of_results_names_both_numbers(probe: LiveServer):
    make_model(probe.store, "wrong", WRONG_COUNT)
    assert probe.manage("POST", "/models?url=wrong&initial_workers=1").status == 200
    answer = probe.predict("wrong", b"x")
    assert probe.manage("DELETE", "/models/wrong").status == 200
    assert answer.status == 503
    assert answer.message == "number of batch response mismatched: expected 1, got 2"


def test_a_model_that_does_not_load(serve: Serve, store):
    make_model(store, "broken", BROKEN, config="minWorkers: 1\nmaxWorkers: 1\nmaxRetryTimeoutInSec: 1\n")
    make_model(store, "fine", ECHO)
    server = serve("broken", "fine")
    server.ready("fine")
    waiting = server.call("Inference", "GET", "/health/ready")
    assert waiting.status == 503
    assert waiting.json["missing"] == ['Model "broken" version 1.0 has 0 of 1 workers.']
    assert server.manage("GET", "/v1/models/broken").json == {"name": "broken", "ready": False}
    assert server.manage("GET", "/v1/models/fine").json == {"name": "fine", "ready": True}
    eventually(lambda: server.call("Inference", "GET", "/ping").status == 500)
    server.until_logged("RuntimeError: weights are missing")  # the author needs the traceback
    worker = server.workers("broken")[0]
    assert "weights are missing" in worker["lastError"]
    answer = server.predict("broken", b"x")
    assert answer.status == 503
    assert "weights are missing" in answer.message
    assert server.predict("fine", b"still here").body == b"still here"


def test_all_without_one_archive_is_up_and_not_ready(serve: Serve, store):
    make_model(store, "fine", ECHO)
    (store / "torn.mar").write_bytes(b"PK\x03\x04 half an archive")
    twin = make_model(store, "twin", ECHO)  # the same model and version as "fine": that one is served
    (twin / "MAR-INF" / "MANIFEST.json").write_bytes((store / "fine" / "MAR-INF" / "MANIFEST.json").read_bytes())
    (store / "lost+found").mkdir()
    server = serve("all")
    server.ready("fine")
    assert server.predict("fine", b"served").body == b"served"
    waiting = server.call("Inference", "GET", "/health/ready")
    assert waiting.status == 503
    (missing,) = waiting.json["missing"]
    assert missing.startswith("The archive torn.mar could not be loaded at start: ")
    server.until_logged("Failed to load model torn.mar: ")
    described = server.manage("GET", "/models/torn")
    assert (described.status, described.message) == (404, f"Model not found: torn. {missing}")
    (store / "torn.mar").unlink()
    shutil.copytree(store / "fine", store / "torn.mar")
    assert server.manage("POST", "/models?url=torn.mar&model_name=torn&initial_workers=1").status == 200
    assert server.call("Inference", "GET", "/health/ready").json == {"ready": True}


def test_prints_reach_the_model_log_under_the_workers_name(probe: LiveServer):
    probe.predict("probe", "print 40000")
    log = probe.home / "logs" / "model_log.log"
    for line in (
        "[WARN ] W-9000-probe_1.0-stderr MODEL_LOG - a line on stderr\n",
        "[INFO ] W-9000-probe_1.0-stdout MODEL_LOG - probe initialized\n",
    ):
        eventually(lambda line=line: line in log.read_text())
    printed = re.compile(r" - (xxx+)$", re.MULTILINE)
    eventually(lambda: sum(map(len, printed.findall(log.read_text()))) == 40_000)


def test_metrics_count_what_was_answered(probe: LiveServer):
    def refused() -> float:
        only = probe.call("Metrics", "GET", "/metrics?name[]=Requests4XX").body.decode()
        (line,) = (line for line in only.splitlines() if not line.startswith("#"))
        return float(line.split()[1])

    probe.predict("probe", "hello")
    probe.predict("nobody", "hello")
    before = refused()
    probe.predict("nobody", "hello")
    assert refused() == before + 1
    text = probe.call("Metrics", "GET", "/metrics").body.decode()
    assert 'ts_inference_requests_total{model_name="probe",model_version="default",' in text
    assert "# TYPE Requests4XX counter" in text
    access = probe.home / "logs/access_log.log"
    eventually(lambda: access.exists() and '"POST /predictions/probe HTTP/1.1" 200 ' in access.read_text())
