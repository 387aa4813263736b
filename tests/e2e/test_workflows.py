"""Workflows on the real server: functions in workers of their own, models beside them, and what becomes of faults."""

from __future__ import annotations

import json
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from .live import Gate, LiveServer, eventually, make_model

MODEL = """
import os, time

def handle(data, context):
    if data is None:
        return None
    answers = []
    for row in data:
        text = bytes(row["body"]).decode()
        if "die" in text:
            os._exit(1)
        if "bad" in text:
            raise ValueError("a bad word")
        if "hold " in text:
            gate = text.partition("hold ")[2].rstrip(")")
            open(gate + ".reached", "w").close()
            while not os.path.exists(gate):
                time.sleep(0.01)
        answers.append(f"{context.model_name}({text})")
    return answers
"""

FUNCTIONS = """
def pre(data, context):
    if data is None:
        return None
    return [("pre " + str(row.get("body") or row.get("data"))).encode() for row in data]

def post(data, context):
    if data is None:
        return None
    return [{name: bytes(value).decode() for name, value in row.items()} for row in data]
"""

DIAMOND = """
models:
  timeout-ms: 20000
  m1: {url: m.mar, batch-size: 4}
  m2: {url: m.mar, retry-attempts: 0}
dag:
  pre: [m1, m2]
  m1: [post]
  m2: [post]
"""


def war(folder: Path, name: str, spec: str) -> None:
    with zipfile.ZipFile(folder / f"{name}.war", "w") as archive:
        workflow = {"workflowName": name, "specFile": "spec.yaml", "handler": "functions.py"}
        archive.writestr("WAR-INF/MANIFEST.json", json.dumps({"workflow": workflow}))
        archive.writestr("spec.yaml", spec)
        archive.writestr("functions.py", FUNCTIONS)


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[LiveServer]:
    make_model(home / "store", "m.mar", MODEL)
    (home / "wars").mkdir()
    war(home / "wars", "wf", DIAMOND)
    war(home / "wars", "half", DIAMOND.replace("m2: {url: m.mar", "m2: {url: gone.mar"))
    live = LiveServer(home, (), arguments=["--workflow-store", str(home / "wars")]).wait()
    answer = live.manage("POST", "/workflows?url=wf.war")
    assert (answer.status, answer.json["status"]) == (200, "Workflow wf has been registered and scaled successfully.")
    yield live
    live.stop()


def ask(server: LiveServer, text: str, **headers: str) -> tuple[int, Any]:
    answer = server.call("Inference", "POST", "/wfpredict/wf", text.encode(), content_type="text/plain", **headers)
    assert answer.headers["content-type"] == "application/json"
    return answer.status, answer.json


def test_a_graph_of_functions_and_models(server: LiveServer) -> None:
    assert ask(server, "x") == (200, {"m1": "wf__m1(pre x)", "m2": "wf__m2(pre x)"})
    models = server.manage("GET", "/models").json["models"]
    assert [each["modelName"] for each in models] == ["wf__m1", "wf__m2"]
    (described,) = server.manage("GET", "/models/wf__pre").json
    assert "modelUrl" not in described


def test_a_workflow_is_registered_whole_or_not_at_all(server: LiveServer) -> None:
    before = {each.pid for each in psutil.Process(server.process.pid).children(recursive=True)}
    answer = server.manage("POST", "/workflows?url=half.war")
    assert answer.status == 500
    assert answer.message == (
        "Workflow half has failed to register. Failures: [Workflow Node half__m2 failed to register."
        " Details: Model not found at: gone.mar]"
    )
    assert server.manage("GET", "/models/half__m1").status == 404
    assert server.manage("GET", "/workflows/half").status == 404
    assert {each.pid for each in psutil.Process(server.process.pid).children(recursive=True)} == before


def test_an_error_names_its_node_and_the_workers_go_on(server: LiveServer) -> None:
    status, told = ask(server, "bad")
    assert (status, told["type"]) == (500, "InternalServerException")
    assert told["message"] in {
        "Error executing m1 of workflow wf in each of 2 attempts: Prediction failed",
        "Error executing m2 of workflow wf: Prediction failed",
    }
    status, told = ask(server, "die")
    assert status == 500
    assert "of workflow wf" in told["message"]
    assert "Worker died." in told["message"]
    assert eventually(lambda: ask(server, "x")[0] == 200)


def test_a_client_that_leaves_frees_the_nodes_behind(server: LiveServer, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    body = f"hold {gate}".encode()
    head = f"POST /wfpredict/wf HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nContent-Type: text/plain\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.ports["Inference"])) as client:
        client.sendall(head.encode() + body)
        gate.reached()
    server.until_logged('"POST /wfpredict/wf HTTP/1.1" 499')
    gate.open()
    assert ask(server, "x") == (200, {"m1": "wf__m1(pre x)", "m2": "wf__m2(pre x)"})
    assert server.accepted("wf__post") == (0, 0)


def test_a_deadline_holds_for_the_whole_graph(server: LiveServer, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    status, told = ask(server, f"hold {gate}", x_request_timeout_ms="1000")
    gate.open()
    assert status == 504
    assert "Workflow wf did not answer within the 1000 ms that this request has" in told["message"]
