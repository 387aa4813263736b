"""Handlers that call other models, on the real server: answers, loops, dead-locks, failures, deadlines and leaving."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .live import Answer, Gate, LiveServer, eventually, make_model

LEAF = """
import os, time

def handle(data, context):
    if data is None:
        return None
    answers = []
    for index, row in enumerate(data):
        body = row["body"]
        text = body if isinstance(body, str) else bytes(body).decode() if isinstance(body, bytearray) else str(body)
        if text == "die":
            os._exit(1)
        if text == "bad":
            raise ValueError("a bad word")
        if text == "status":
            context.set_response_status(422, "no", index)
        if text.startswith("hold "):
            gate = text[5:]
            open(gate + ".reached", "w").close()
            while not os.path.exists(gate):
                time.sleep(0.01)
        if text == "big":
            answers.append(b"x" * 6_000_000)
            continue
        context.set_response_header(index, "x-leaf", context.model_name)
        answers.append(f"{context.model_name}({type(body).__name__} {text if len(text) < 100 else len(text)})")
    return answers
"""

# What a client sends is {"call": [model, data], …}: the handler calls that, and answers what comes of it.
CALLER = """
from ts.handler_utils.model_call import ModelCallFailed

def plan(row):
    asked = row["body"]
    model, data = asked["call"]
    if "size" in asked:
        data = b"y" * asked["size"]
    return model, data, {key: asked[key] for key in ("version", "timeout") if key in asked}, asked

def told(context, model, answer):
    text = answer.text() if len(answer.body) < 100_000 else str(len(answer.body))
    return {"by": context.model_name, "status": answer.status, "text": text, "leaf": answer.headers.get("x-leaf")}
"""
PLAIN = (
    CALLER
    + """
from concurrent.futures import ThreadPoolExecutor

def handle(data, context):
    if data is None:
        return None
    answers = []
    for index, row in enumerate(data):
        model, what, more, asked = plan(row)
        try:
            if "times" in asked:
                with ThreadPoolExecutor(asked["times"]) as threads:
                    made = [threads.submit(context.predict_blocking, model, f"{what}{i}") for i in range(asked["times"])]
                answers.append([each.result().text() for each in made])
            else:
                answers.append(told(context, model, context.predict_blocking(model, what, idx=index, **more)))
        except ModelCallFailed as error:
            if "pass" in asked:
                raise
            answers.append({"failed": error.status, "message": error.message})
    return answers
"""
)
ASYNC = (
    CALLER
    + """
import asyncio

class Handler:
    async def handle(self, data, context):
        model, what, more, asked = plan(data[0])
        try:
            if "times" in asked:
                calls = [context.predict(model, f"{what}{i}") for i in range(asked["times"])]
                return [[each.text() for each in await asyncio.gather(*calls)]]
            if "thread" in asked:
                return [told(context, model, await asyncio.to_thread(context.predict_blocking, model, what))]
            if "blocking" in asked:
                context.predict_blocking(model, what)
            return [told(context, model, await context.predict(model, what, **more))]
        except ModelCallFailed as error:
            return [{"failed": error.status, "message": error.message}]
        except RuntimeError as error:
            return [{"failed": 0, "message": str(error)}]
"""
)
ASYNCHRONOUS = "minWorkers: 1\nmaxWorkers: 1\nasyncCommunication: true\n"
BOTH = pytest.mark.parametrize("caller", ["plain", "async"])


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[LiveServer]:
    store = home / "store"
    fixed = "batchSize: 8\nmaxBatchDelay: 5\nbatchPolicy: fixed\n"  # which hands over no batch ahead of time
    make_model(store, "leaf", LEAF, f"minWorkers: 1\nmaxWorkers: 1\n{fixed}")
    make_model(store, "plain", PLAIN)
    make_model(store, "other", PLAIN)
    make_model(store, "async", ASYNC, ASYNCHRONOUS)
    live = LiveServer(home, ("leaf", "plain", "other", "async")).wait()
    eventually(lambda: live.call("Inference", "GET", "/health/ready").status == 200)
    yield live
    live.stop()


def post(server: LiveServer, model: str, asked: Any, **headers: str) -> Answer:
    body = json.dumps(asked).encode()
    return server.call("Inference", "POST", f"/predictions/{model}", body, content_type="application/json", **headers)


def ask(server: LiveServer, model: str, *call: Any, **more: Any) -> Any:
    answer = post(server, model, {"call": call, **more})
    assert answer.status == 200, answer.body
    return answer.json


@BOTH
def test_a_model_is_called(server: LiveServer, caller: str) -> None:
    leaf = {"by": caller, "status": 200, "leaf": "leaf"}
    assert ask(server, caller, "leaf", "hello") == leaf | {"text": "leaf(str hello)"}
    assert ask(server, caller, "leaf", [1, {"a": 2}]) == leaf | {"text": "leaf(list [1, {'a': 2}])"}
    assert ask(server, caller, "leaf", "", size=5_000_000) == leaf | {"text": "leaf(bytearray 5000000)"}
    assert ask(server, caller, "leaf", "big", version="1.0") == leaf | {"text": "6000000", "leaf": None}


def test_a_chain_of_models(server: LiveServer) -> None:
    inner = {"call": ["plain", {"call": ["leaf", "x"]}]}
    answer = ask(server, "async", *inner["call"])
    assert json.loads(answer["text"])["text"] == "leaf(str x)"


@BOTH
def test_a_hundred_calls_at_once(server: LiveServer, caller: str) -> None:
    assert ask(server, caller, "leaf", "n", times=100) == [f"leaf(str n{i})" for i in range(100)]


def test_a_thread_of_an_asynchronous_handler_may_wait_but_not_its_loop(server: LiveServer) -> None:
    assert ask(server, "async", "leaf", "x", thread=1)["text"] == "leaf(str x)"
    told = ask(server, "async", "leaf", "x", blocking=1)
    assert told["failed"] == 0
    assert "await context.predict" in told["message"]


@BOTH
def test_what_fails_is_an_exception_with_status_and_text(server: LiveServer, caller: str) -> None:
    assert ask(server, caller, "gone", "x") == {"failed": 404, "message": "Model not found: gone"}
    told = ask(server, caller, "leaf", "x", version="9.9")
    assert told == {"failed": 404, "message": "Model version: 9.9 does not exist for model: leaf"}
    assert ask(server, caller, "leaf", "bad") == {"failed": 503, "message": "Prediction failed"}
    told = ask(server, caller, "leaf", "status")
    assert told == {"failed": 422, "message": "Model leaf answered with the status 422: leaf(str status)"}
    told = ask(server, caller, "leaf", "", size=7_000_000)
    assert told["failed"] == 413
    assert "max_response_size" in told["message"]


def test_an_exception_that_passes_is_the_answer(server: LiveServer) -> None:
    answer = post(server, "plain", {"call": ["gone", "x"], "pass": 1})
    assert (answer.status, answer.message) == (404, "Model not found: gone")


def test_a_loop_ends_at_its_depth(server: LiveServer) -> None:
    asked: Any = {"call": ["leaf", "x"]}
    for _ in range(7):
        asked = {"call": ["async", asked]}
    answer = post(server, "async", asked).json
    while "text" in answer and answer["text"].startswith("{"):
        answer = json.loads(answer["text"])
    assert answer["text"] == "leaf(str x)"  # eight callers
    answer = post(server, "async", {"call": ["async", asked]}).json
    while "text" in answer:
        answer = json.loads(answer["text"])
    assert answer["failed"] == 500
    assert " → ".join(["async"] * 9) in answer["message"]
    assert "at most 8 models" in answer["message"]


def test_dead_locks_are_refused(server: LiveServer) -> None:
    told = ask(server, "plain", "plain", {"call": ["leaf", "x"]})
    assert told["failed"] == 503
    assert "(plain → plain)" in told["message"]
    outer = ask(server, "plain", "other", {"call": ["plain", {"call": ["leaf", "x"]}]})
    told = json.loads(outer["text"])
    assert told["failed"] == 503
    assert "(other → plain → other)" in told["message"]


def test_a_second_worker_runs_it(server: LiveServer) -> None:
    make_model(server.store, "pair", PLAIN, "minWorkers: 2\nmaxWorkers: 2\n")
    assert server.manage("POST", "/models?url=pair&initial_workers=2&synchronous=true").status == 200
    told = ask(server, "pair", "pair", {"call": ["leaf", "x"]})
    assert json.loads(told["text"])["text"] == "leaf(str x)"
    assert server.manage("DELETE", "/models/pair").status == 200


@BOTH
def test_a_call_ends_with_its_time(server: LiveServer, caller: str, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    told = ask(server, caller, "leaf", f"hold {gate}", timeout=0.2)
    gate.open()
    assert told["failed"] in {503, 504}  # refused if it is known to take that long, else given up
    assert ask(server, caller, "leaf", "next")["text"] == "leaf(str next)"


@BOTH
def test_a_call_has_the_time_of_its_request(server: LiveServer, caller: str, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    answer = post(server, caller, {"call": ["leaf", f"hold {gate}"]}, **{"x-request-timeout-ms": "2000"})
    gate.open()
    assert answer.status in {503, 504} or answer.json["failed"] in {503, 504}


@BOTH
def test_a_client_that_leaves_takes_its_calls_along(server: LiveServer, caller: str, tmp_path: Path) -> None:
    gate, second = Gate(tmp_path / "gate"), Gate(tmp_path / "second")
    with ThreadPoolExecutor(1) as threads:
        blocker = threads.submit(ask, server, caller if caller == "async" else "other", "leaf", f"hold {gate}")
        gate.reached()
        body = json.dumps({"call": ["leaf", f"hold {second}"]}).encode()
        head = f"POST /predictions/{caller} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", server.ports["Inference"])) as client:
            client.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            eventually(lambda: _waiting(server) == 1)
        eventually(lambda: _waiting(server) == 0)
        gate.open()
        assert blocker.result()["text"].startswith("leaf(str hold")
    assert ask(server, caller, "leaf", "next")["text"] == "leaf(str next)"
    assert not second.path.with_name("second.reached").exists()


def _waiting(server: LiveServer) -> int:
    return server.manage("GET", "/models/leaf").json[0]["jobQueueStatus"]["pendingRequests"]


@BOTH
def test_the_worker_that_was_called_dies(server: LiveServer, caller: str) -> None:
    told = ask(server, caller, "leaf", "die")
    assert told["failed"] == 500
    assert "Worker died" in told["message"]
    assert eventually(lambda: ask(server, caller, "leaf", "x").get("text")) == "leaf(str x)"
