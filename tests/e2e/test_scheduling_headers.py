"""What scheduling_headers tells of real batches, and that nothing is told without it."""

from __future__ import annotations

from pathlib import Path

from .conftest import Serve
from .handlers import ECHO
from .live import Answer, LiveServer, eventually, make_model
from .test_faults import ONE_WORKER, queued, recording
from .test_stateful import COUNTDOWN, STATE

ON = "scheduling_headers=true"
STREAM = """
from ts.handler_utils.utils import send_intermediate_predict_response

def handle(data, context):
    if data is None:
        return None
    send_intermediate_predict_response(["a"] * len(data), context.request_ids, "ok", 200, context)
    return ["b"] * len(data)
"""
FAILS = """
def handle(data, context):
    if data is None:
        return None
    raise ValueError("no")
"""


def told(answer: Answer) -> dict[str, str]:
    start = "x-torchserve-"
    return {name.removeprefix(start): value for name, value in answer.headers.items() if name.startswith(start)}


def batches(server: LiveServer, cause: str) -> bool:
    text = server.call("Metrics", "GET", "/metrics?name[]=torchserve_batches_total").body.decode()
    return f'cause="{cause}",device="cpu",' in text


def test_company_in_a_batch_is_told(serve: Serve, store: Path) -> None:
    server, seen = recording(serve, store, "batchSize: 3\nbatchPolicy: fixed\nmaxBatchDelay: 60000\n", properties=ON)
    held = [server.later("record", "wait") for _ in range(3)]
    eventually(lambda: seen.read_text())
    waiting = [server.later("record", f"q{number}") for number in range(3)]
    eventually(lambda: queued(server) == 3)
    (store.parent / "gate").touch()
    for answer in [each.result() for each in (*held, *waiting)]:
        found = told(answer)
        assert float(found.pop("queue-ms")) > 0
        assert float(found.pop("handler-ms")) > 0
        assert found == {
            "batch-size": "3", "batch-cause": "full", "worker": server_worker(server), "device": "cpu",
        }  # fmt: skip
    assert batches(server, "full")


def server_worker(server: LiveServer) -> str:
    return f"W-{server.workers('record')[0]['id']}-record_1.0"


def test_streams_and_failures_tell_it_and_refusals_do_not(serve: Serve, store: Path) -> None:
    for name, handler in (("stream", STREAM), ("fails", FAILS)):
        make_model(store, name, handler, ONE_WORKER)
    make_model(store, "echo", ECHO, f"{ONE_WORKER}batchSize: 8\n")
    make_model(store, "aside", ASIDE, f"{ONE_WORKER}asyncCommunication: true\n")
    server = serve("stream", "fails", "echo", "aside", properties=ON)
    for name in ("stream", "fails", "echo", "aside"):
        server.ready(name)
    always = {"queue-ms", "batch-size", "batch-cause", "worker", "device"}
    streamed = server.predict("stream", "x")
    assert (streamed.body, told(streamed).keys()) == (b"ab", always)
    failed = server.predict("fails", "x")
    assert (failed.status, told(failed).keys()) == (503, always | {"handler-ms"})
    for name in ("echo", "aside"):
        assert told(server.predict(name, "x")).keys() == always | {"handler-ms"}
    assert told(server.predict("echo", "x"))["batch-cause"] == "free_worker"
    assert told(server.predict("nobody", "x")) == {}
    assert batches(server, "free_worker")


def test_continuous_and_stateful_batches_tell_it_too(serve: Serve, store: Path) -> None:
    make_model(store, "count", COUNTDOWN, f"{ONE_WORKER}continuousBatching: true\nbatchSize: 2\n")
    make_model(store, "state", STATE, f"{ONE_WORKER}sequenceBatching: true\n")
    server = serve("count", "state", properties=ON)
    for name in ("count", "state"):
        server.ready(name)
    always = {"queue-ms", "batch-size", "batch-cause", "worker", "device"}
    for answer in (
        server.predict("count", "1"),
        server.predict("count", "3"),
        server.predict("state", "x", ts_request_sequence_id="s"),
    ):
        assert answer.status == 200
        assert always <= told(answer).keys() <= always | {"handler-ms"}
        assert told(answer)["batch-size"] == "1"


ASIDE = """
async def handle(data, context):
    return ["ok"] * len(data) if data is not None else None
"""


def test_without_the_setting_nothing_is_told(serve: Serve, store: Path) -> None:
    make_model(store, "echo", ECHO)
    server = serve("echo")
    server.ready("echo")
    assert told(server.predict("echo", "x")) == {}
