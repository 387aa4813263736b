"""Traces of a real server, decoded from what its collector gets: exact trees for each kind of request and of end."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import httpx
import numpy as np
import pytest

from torchserve.http.rpc.protos.messages import message

from .engines import SmallModel
from .generating import Model
from .live import Gate, eventually
from .traced_models import NAMES, make_models
from .traces import Desk, parent, recorded, told

WORK = ["batch", ["worker", ["handler", ["preprocess", "inference", "postprocess"]]]]
BARE = ["batch", ["worker", ["handler"]]]  # of a handler without hooks
INFERENCE = "org.pytorch.serve.grpc.inference"
SERVICE = f"{INFERENCE}.InferenceAPIsService"
NAME = "POST /predictions/{model}"


@pytest.fixture(scope="module")
def text(home: Path) -> Model:
    """A model that generates text, once there is a server."""
    return Model(home / "store", home, "text")


@pytest.fixture(scope="module")
def engine(home: Path) -> SmallModel:
    """A model whose engine is a process of its own."""
    return SmallModel(home / "store", "engine")


@pytest.fixture(scope="module")
def desk(home: Path, text: Model, engine: SmallModel) -> Iterator[Desk]:
    make_models(home / "store")
    with recorded(home, (*NAMES, "text", "engine")) as made:
        text.server = made.server
        assert made.server.manage("POST", "/workflows?url=wf.war").status == 200
        yield made
    engine.all_gone()


def test_a_plain_request_from_the_client_to_the_hooks(desk: Desk) -> None:
    trace_id = desk.fresh()
    answer = desk.ask("/predictions/hooks", b"hello", trace_id, tracestate="a=1", user_agent="me")
    assert answer.body == b"hello"
    spans = desk.sink.trace(trace_id, [NAME, ["queue", *WORK]])
    root = spans[NAME]
    assert answer.headers["traceparent"] == f"00-{trace_id}-{root.span_id.hex()}-01"
    assert answer.headers["tracestate"] == root.trace_state == "a=1"
    assert told(root) | {"client.port": 0} == {
        "http.request.method": "POST", "http.response.status_code": 200, "http.route": "/predictions/{model}",
        "url.path": "/predictions/hooks", "network.protocol.version": "1.1", "client.address": "127.0.0.1",
        "client.port": 0, "torchserve.request_id": answer.headers["x-request-id"], "user_agent.original": "me",
        "torchserve.model.name": "hooks",
    }  # fmt: skip
    assert (root.kind, root.status.code) == (2, 0)
    assert told(spans["batch"])["torchserve.batch.size"] == 1
    # The worker's line and the access log's name the trace; the handler knows what to hand on.
    below = f"under 00-{trace_id}-{spans['worker'].span_id.hex()}-01"
    desk.server.until_logged(below)
    lines = eventually(lambda: found if len(found := _lines(desk, trace_id)) == 2 else None)
    assert lines is not None
    assert sorted(line["logger"] for line in lines) == ["ACCESS_LOG", "MODEL_LOG"]
    assert {line["request_id"] for line in lines} == {answer.headers["x-request-id"]}


def _lines(desk: Desk, trace_id: str) -> list[Any]:
    return [json.loads(line) for line in desk.server.lines if f'"trace_id":"{trace_id}"' in line]


def test_what_the_client_does_not_record_is_not_recorded(desk: Desk) -> None:
    unrecorded = desk.fresh()
    answer = desk.server.predict("hooks", b"x", traceparent=parent(unrecorded, "00"))
    assert "traceparent" not in answer.headers
    assert desk.server.predict("hooks", b"x").status == 200
    for bad in ("x", "00-" + "0" * 32, "x" * 5000):  # the request is as one without it, of which none is recorded here
        assert desk.server.predict("hooks", b"x", traceparent=bad).status == 200
    marker = desk.fresh()
    desk.ask("/predictions/hooks", b"x", marker)
    desk.sink.trace(marker, [NAME, ["queue", *WORK]])
    assert unrecorded not in desk.sink.spans
    assert all(int(trace_id, 16) < 1000 for trace_id in desk.sink.spans)


def test_two_in_a_batch_are_linked_to_it_and_it_to_them(desk: Desk) -> None:
    first, second = desk.fresh(), desk.fresh()
    waiting = desk.later("/predictions/pair", b"a", first)
    eventually(lambda: desk.server.accepted("pair") == (0, 1))
    assert desk.ask("/predictions/pair", b"b", second).body == b"b"
    assert waiting().body == b"a"
    own = desk.sink.trace(first, [NAME, ["queue", *WORK]])
    other = desk.sink.trace(second, [NAME, ["queue", "batch"]])
    links = [(link.trace_id.hex(), link.span_id) for link in own["batch"].links]
    assert links == [(first, own[NAME].span_id), (second, other[NAME].span_id)]
    assert [(link.trace_id.hex(), link.span_id) for link in other["batch"].links] == [(first, own["batch"].span_id)]
    assert told(own["batch"])["torchserve.batch.size"] == told(other["batch"])["torchserve.batch.size"] == 2
    slow = eventually(lambda: [line for line in _lines(desk, first) if "slowRequestMs=1" in line["message"]])
    where = r"in the queue, .*in W-\d+-pair_1\.0 until it was answered, in a batch of 2 \(full\): handler \d+ ms \(preprocess "
    assert re.search(where, slow[0]["message"])


def test_a_stream_tells_of_its_first_piece(desk: Desk) -> None:
    trace_id = desk.fresh()
    answer = desk.ask("/predictions/streams", b"x", trace_id)
    assert answer.body == b"0 1 2 end"
    root = desk.sink.trace(trace_id, [NAME, ["queue", *BARE]])[NAME]
    assert answer.headers["traceparent"].split("-")[2] == root.span_id.hex()
    assert [event.name for event in root.events] == ["first_chunk"]
    assert root.start_time_unix_nano <= root.events[0].time_unix_nano <= root.end_time_unix_nano


def test_a_handler_that_raises_and_a_worker_that_dies(desk: Desk) -> None:
    raised = desk.fresh()
    assert desk.ask("/predictions/hooks", b"raise", raised).status == 503
    work = ["batch", ["worker", ["handler", ["preprocess", "inference"]]]]
    spans = desk.sink.trace(raised, [NAME, ["queue", *work]])
    failed = {each for each, span in spans.items() if span.status.code == 2}
    assert failed == {NAME, "batch", "worker", "handler"}
    assert told(spans[NAME])["error.type"] == "HandlerFailed"
    assert spans["handler"].status.message == spans[NAME].status.message == "Prediction failed"
    memory = desk.fresh()
    assert desk.ask("/predictions/hooks", b"memory", memory).status == 507
    spans = desk.sink.trace(memory, [NAME, ["queue", *work]])
    assert (spans[NAME].status.code, told(spans[NAME])["http.response.status_code"]) == (2, 507)
    desk.server.ready("hooks")
    died = desk.fresh()
    assert desk.ask("/predictions/hooks", b"die", died).status >= 500
    spans = desk.sink.trace(died, [NAME, ["queue", "batch", ["worker"]]])
    assert (spans["worker"].status.code, told(spans[NAME])["error.type"]) == (2, "WorkerDied")
    desk.server.ready("hooks")


def test_a_client_that_leaves_and_a_queue_that_is_full(desk: Desk, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    left, refused, behind = desk.fresh(), desk.fresh(), desk.fresh()
    connection = HTTPConnection("127.0.0.1", desk.server.ports["Inference"], timeout=60)
    connection.request("POST", "/predictions/hooks", f"hold {gate}", {"traceparent": parent(left)})
    gate.reached()
    waiting = [desk.later("/predictions/hooks", b"behind", behind)]
    eventually(lambda: sum(desk.server.accepted("hooks")) == 2)
    if desk.server.accepted("hooks")[1] == 0:  # the worker has it ahead: one more may wait
        waiting.append(desk.later("/predictions/hooks", b"behind", desk.fresh()))
        eventually(lambda: desk.server.accepted("hooks")[1] == 1)
    assert desk.ask("/predictions/hooks", b"x", refused).status == 503
    connection.close()
    spans = desk.sink.trace(refused, [NAME])
    assert (spans[NAME].status.code, told(spans[NAME])["error.type"]) == (2, "QueueFull")
    root = eventually(lambda: desk.sink.spans.get(left))
    assert root is not None
    assert (told(root[0])["http.response.status_code"], told(root[0])["error.type"]) == (499, "client_left")
    gate.open()
    assert [each().body for each in waiting] == [b"behind"] * len(waiting)
    spans = desk.sink.trace(left, [NAME, ["queue", *WORK]])
    assert spans["batch"].end_time_unix_nano > spans[NAME].end_time_unix_nano
    desk.sink.trace(behind, [NAME, ["queue", *WORK]])


def test_grpc(desk: Desk) -> None:
    asked, answered = message(f"{INFERENCE}.PredictionsRequest"), message(f"{INFERENCE}.PredictionResponse")
    with grpc.insecure_channel(f"127.0.0.1:{desk.server.ports['gRPC inference']}") as channel:

        def call(method: str, kind: str, model: str, body: bytes, trace_id: str) -> Any:
            rpc = getattr(channel, kind)(
                f"/{SERVICE}/{method}",
                request_serializer=asked.SerializeToString, response_deserializer=answered.FromString,
            )  # fmt: skip
            metadata = (("traceparent", parent(trace_id)), ("tracestate", "b=2"))
            request = asked(model_name=model, input={"data": body})
            return rpc.with_call(request, metadata=metadata, timeout=60) if kind == "unary_unary" else rpc(
                request, metadata=metadata, timeout=60
            )  # fmt: skip

        plain = desk.fresh()
        reply, done = call("Predictions", "unary_unary", "hooks", b"hi", plain)
        assert reply.prediction == b"hi"
        name = f"{SERVICE}/Predictions"
        root = desk.sink.trace(plain, [name, ["queue", *WORK]])[name]
        trailers = dict(done.trailing_metadata())
        assert (trailers["traceparent"], trailers["tracestate"]) == (f"00-{plain}-{root.span_id.hex()}-01", "b=2")
        assert (told(root)["rpc.service"], told(root)["rpc.method"]) == (SERVICE, "Predictions")
        assert (told(root)["rpc.grpc.status_code"], told(root)["torchserve.model.name"]) == (0, "hooks")
        assert len(eventually(lambda: [line for line in _lines(desk, plain) if line["logger"] == "ACCESS_LOG"])) == 1
        streamed = desk.fresh()
        found = [each.prediction for each in call("StreamPredictions", "unary_stream", "streams", b"x", streamed)]
        assert found == [b"0 ", b"1 ", b"2 ", b"end"]
        name = f"{SERVICE}/StreamPredictions"
        assert len(desk.sink.trace(streamed, [name, ["queue", *BARE]])[name].events) == 1
        failed = desk.fresh()
        with pytest.raises(grpc.RpcError) as refused:
            call("Predictions", "unary_unary", "hooks", b"raise", failed)
        name = f"{SERVICE}/Predictions"
        work = ["batch", ["worker", ["handler", ["preprocess", "inference"]]]]
        root = desk.sink.trace(failed, [name, ["queue", *work]])[name]
        assert (root.status.code, told(root)["error.type"]) == (2, "HandlerFailed")
        assert told(root)["rpc.grpc.status_code"] == refused.value.code().value[0]


def test_open_inference_and_openai(desk: Desk, text: Model) -> None:
    oip = desk.fresh()
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}]}
    answer = desk.ask("/v2/models/tensors/infer", json.dumps(body).encode(), oip, content_type="application/json")
    assert np.allclose(answer.json["outputs"][0]["data"], [1.0, 2.0])
    desk.sink.trace(oip, ["POST /v2/models/{model}/infer", ["queue", *BARE]])
    generated = desk.fresh()
    connection = text.send("hello", max_tokens=3, stream=True, headers={"traceparent": parent(generated)})
    assert connection.getresponse().read().endswith(b"data: [DONE]\n\n")
    connection.close()
    root = desk.sink.trace(generated, ["POST /v1/completions", ["queue", *BARE]])["POST /v1/completions"]
    assert told(root)["torchserve.model.name"] == "text"
    assert len(root.events) == 1


def test_histograms_name_traces_to_those_that_ask_for_openmetrics(desk: Desk) -> None:
    trace_id = desk.fresh()
    desk.ask("/predictions/tensors", json.dumps({}).encode(), trace_id)
    hooks = desk.fresh()
    desk.ask("/predictions/hooks", b"x", hooks)
    path = "/metrics?name[]=torchserve_request_duration_seconds&name[]=torchserve_trace*"
    accept = "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"
    found = desk.server.call("Metrics", "GET", path, accept=accept)
    assert found.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    text = found.body.decode()
    assert text.endswith("# EOF\n")
    assert f'# {{trace_id="{hooks}"}}' in text
    plain = desk.server.call("Metrics", "GET", path)
    assert "trace_id" not in plain.body.decode()
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'torchserve_trace_records_lost_total{reason="collector",} 0.0' in plain.body.decode()


def test_what_is_refused_before_a_queue_has_one_span(desk: Desk) -> None:
    first, limited, unknown = desk.fresh(), desk.fresh(), desk.fresh()
    assert desk.ask("/predictions/hooks", b"x", first, x_client="limited").status == 200
    desk.sink.trace(first, [NAME, ["queue", *WORK]])
    assert desk.ask("/predictions/tensors", b"{}", limited, x_client="limited").status == 429
    root = desk.sink.trace(limited, [NAME])[NAME]
    assert (root.status.code, told(root)["error.type"], told(root)["http.response.status_code"]) == (
        0,
        "ClientLimited",
        429,
    )
    assert desk.ask("/predictions/nobody", b"", unknown).status == 404
    assert told(desk.sink.trace(unknown, [NAME])[NAME])["error.type"] == "ModelNotFound"


def test_a_client_that_leaves_in_the_middle_of_a_stream(desk: Desk, tmp_path: Path) -> None:
    gate, trace_id = Gate(tmp_path / "gate"), desk.fresh()
    connection = HTTPConnection("127.0.0.1", desk.server.ports["Inference"], timeout=60)
    connection.request("POST", "/predictions/pieces", str(gate), {"traceparent": parent(trace_id)})
    assert connection.getresponse().read(6) == b"first "
    connection.close()
    root = eventually(lambda: desk.sink.spans.get(trace_id))[0]
    assert [event.name for event in root.events] == ["first_chunk"]
    assert (told(root)["http.response.status_code"], told(root)["error.type"], root.status.code) == (
        499,
        "client_left",
        0,
    )
    gate.open()
    desk.sink.trace(trace_id, [NAME, ["queue", *BARE]])


def test_a_grpc_call_that_is_cancelled_in_the_middle_of_its_stream(desk: Desk, tmp_path: Path) -> None:
    gate, trace_id = Gate(tmp_path / "gate"), desk.fresh()
    asked, answered = message(f"{INFERENCE}.PredictionsRequest"), message(f"{INFERENCE}.PredictionResponse")
    with grpc.insecure_channel(f"127.0.0.1:{desk.server.ports['gRPC inference']}") as channel:
        stream = channel.unary_stream(
            f"/{SERVICE}/StreamPredictions",
            request_serializer=asked.SerializeToString, response_deserializer=answered.FromString,
        )  # fmt: skip
        request = asked(model_name="pieces", input={"data": str(gate).encode()})
        call = stream(request, metadata=(("traceparent", parent(trace_id)),), timeout=60)
        assert next(call).prediction == b"first "
        call.cancel()
    root = eventually(lambda: desk.sink.spans.get(trace_id))[0]
    assert (told(root)["rpc.grpc.status_code"], told(root)["error.type"]) == (1, "client_left")
    gate.open()
    desk.sink.trace(trace_id, [f"{SERVICE}/StreamPredictions", ["queue", *BARE]])


def test_each_message_of_a_websocket_is_a_request(desk: Desk, tmp_path: Path) -> None:
    gate, trace_id = Gate(tmp_path / "gate"), desk.fresh()

    async def talk() -> None:
        url = f"http://127.0.0.1:{desk.server.ports['Inference']}/predictions/hooks"
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(url, headers={"traceparent": parent(trace_id)}) as ws:
                await ws.send_bytes(b"hello")
                assert (await ws.receive()).data == b"hello"
                await ws.send_bytes(b"raise")
                assert json.loads((await ws.receive()).data)["code"] == 503
                await ws.send_bytes(f"hold {gate}".encode())
                await asyncio.to_thread(gate.reached)

    asyncio.run(talk())
    eventually(lambda: any(told(each).get("error.type") == "client_left" for each in desk.sink.spans.get(trace_id, ())))
    gate.open()
    name = "WebSocket /predictions/{model}"
    failing = ["batch", ["worker", ["handler", ["preprocess", "inference"]]]]
    spans = desk.sink.all(trace_id, [name, ["queue", *WORK], name, ["queue", *failing], name, ["queue", *WORK]])
    roots = [told(each) for each in spans if each.name == name]
    assert {(each["http.request.method"], each["network.protocol.name"]) for each in roots} == {("GET", "websocket")}
    assert sorted(each["http.response.status_code"] for each in roots) == [200, 499, 503]


def test_a_workflows_nodes_are_below_its_request(desk: Desk, tmp_path: Path) -> None:
    name, trace_id = "POST /wfpredict/{workflow}", desk.fresh()
    node = ["queue", *BARE]
    assert desk.ask("/wfpredict/wf", b"x", trace_id).json == {"left": "l", "right": "r"}
    spans = desk.sink.all(trace_id, [name, ["node pre", node, "node left", node, "node right", node]])
    (root,) = [each for each in spans if each.name == name]
    assert (told(root)["torchserve.workflow.name"], "torchserve.model.name" in told(root)) == ("wf", False)
    failed = desk.fresh()
    assert desk.ask("/wfpredict/wf", b"bad", failed).status == 500
    spans = desk.sink.all(failed, [name, ["node pre", node, "node pre", node]])
    tries = [told(each) for each in spans if each.name == "node pre"]
    assert sorted(each["torchserve.workflow.attempt"] for each in tries) == [1, 2]
    assert {(each["torchserve.workflow.node"], each["error.type"]) for each in tries} == {("pre", "HandlerFailed")}
    assert {each.status.code for each in spans if each.name in {name, "node pre"}} == {2}
    gate, left = Gate(tmp_path / "gate"), desk.fresh()
    connection = HTTPConnection("127.0.0.1", desk.server.ports["Inference"], timeout=60)
    connection.request("POST", "/wfpredict/wf", f"hold {gate}", {"traceparent": parent(left)})
    gate.reached()
    connection.close()
    eventually(lambda: any(each.name == name for each in desk.sink.spans.get(left, ())))
    gate.open()
    found = desk.sink.trace(left, [name, ["node pre", node]])
    assert (told(found[name])["error.type"], told(found["node pre"])["error.type"]) == ("client_left", "cancelled")


def test_what_a_handler_calls_is_below_its_worker(desk: Desk) -> None:
    trace_id = desk.fresh()
    assert desk.ask("/predictions/caller", b"hooks hello", trace_id).body == b"hello"
    below = ["call", ["queue", *WORK], "handler"]
    spans = desk.sink.all(trace_id, [NAME, ["queue", "batch", ["worker", below]]])
    (call,) = [each for each in spans if each.name == "call"]
    assert told(call) == {"torchserve.model.name": "hooks", "torchserve.caller": "caller"}
    failed = desk.fresh()
    assert desk.ask("/predictions/caller", b"hooks raise", failed).status == 503
    work = ["batch", ["worker", ["handler", ["preprocess", "inference"]]]]
    spans = desk.sink.all(failed, [NAME, ["queue", "batch", ["worker", ["call", ["queue", *work], "handler"]]]])
    (call,) = [each for each in spans if each.name == "call"]
    assert (call.status.code, told(call)["error.type"]) == (2, "HandlerFailed")
    gone = desk.fresh()
    assert desk.ask("/predictions/caller", b"nobody x", gone).status == 404
    call = desk.sink.trace(gone, [NAME, ["queue", "batch", ["worker", ["call", "handler"]]]])["call"]
    assert told(call)["error.type"] == "ModelNotFound"


def test_an_engine_is_told_of_its_request(desk: Desk, engine: SmallModel) -> None:
    recorded, unrecorded = desk.fresh(), desk.fresh()
    body = json.dumps({"model": "engine", "prompt": "the cat", "max_tokens": 2}).encode()
    for trace_id, flags in ((recorded, "01"), (unrecorded, "00")):
        answer = desk.server.call(
            "Inference", "POST", "/v1/completions", body, content_type="application/json",
            traceparent=parent(trace_id, flags), tracestate="a=1",
        )  # fmt: skip
        assert answer.status == 200
    worker = desk.sink.trace(recorded, ["POST /v1/completions", ["queue", *BARE]])["worker"]
    told_engine = [each["headers"] for each in engine.noted("began", 2)]
    assert [each["traceparent"] for each in told_engine] == [
        f"00-{recorded}-{worker.span_id.hex()}-01", parent(unrecorded, "00"),
    ]  # fmt: skip
    assert {each["tracestate"] for each in told_engine} == {"a=1"}


def test_over_http2_and_the_open_inference_protocols_grpc(desk: Desk) -> None:
    over_http2, oip = desk.fresh(), desk.fresh()
    with httpx.Client(http1=False, http2=True) as client:
        url = f"http://127.0.0.1:{desk.server.ports['Inference']}/predictions/hooks"
        assert client.post(url, content=b"x", headers={"traceparent": parent(over_http2)}).content == b"x"
    root = desk.sink.trace(over_http2, [NAME, ["queue", *WORK]])[NAME]
    assert told(root)["network.protocol.version"] == "2"
    asked, answered = message("inference.ModelInferRequest"), message("inference.ModelInferResponse")
    name = "inference.GRPCInferenceService/ModelInfer"
    with grpc.insecure_channel(f"127.0.0.1:{desk.server.ports['gRPC inference']}") as channel:
        infer = channel.unary_unary(
            f"/{name}", request_serializer=asked.SerializeToString, response_deserializer=answered.FromString
        )
        given = {"name": "x", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [1.0]}}
        infer(asked(model_name="tensors", inputs=[given]), metadata=(("traceparent", parent(oip)),), timeout=60)
    desk.sink.trace(oip, [name, ["queue", *BARE]])
