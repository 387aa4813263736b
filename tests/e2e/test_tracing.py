"""Traces of a real server, decoded from what its collector gets: exact trees for each kind of request and of end."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from torchserve.http.rpc.protos.messages import message

from .generating import Model
from .handlers import STREAMS
from .live import Gate, LiveServer, eventually, make_model

HOOKS = """
import os, time

class Hooks:
    def initialize(self, context):
        pass

    def preprocess(self, data):
        return [bytes(row.get("body") or row.get("data")).decode() for row in data]

    def inference(self, texts):
        for text in texts:
            verb, _, gate = text.partition(" ")
            if verb == "raise":
                raise ValueError("no")
            if verb == "die":
                os._exit(1)
            if verb == "hold":
                open(gate + ".reached", "w").close()
                while not os.path.exists(gate):
                    time.sleep(0.01)
        return texts

    def postprocess(self, texts):
        return texts

    def handle(self, data, context):
        print("under", context.traceparent or "nothing", flush=True)
        return self.postprocess(self.inference(self.preprocess(data)))
"""
TENSORS = """
def handle(data, context):
    return None if data is None else [{"y": row["x"]} for row in data]
"""
ONE = "minWorkers: 1\nmaxWorkers: 1\n"
WORK = ["batch", ["worker", ["handler", ["preprocess", "inference", "postprocess"]]]]
BARE = ["batch", ["worker", ["handler"]]]  # of a handler without hooks
INFERENCE = "org.pytorch.serve.grpc.inference"
SERVICE = f"{INFERENCE}.InferenceAPIsService"


class Sink:
    """A collector: the spans that came, by trace."""

    def __init__(self) -> None:
        self.spans: dict[str, list[Any]] = {}
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
                for group in ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans:
                    for span in group.spans:
                        sink.spans.setdefault(span.trace_id.hex(), []).append(span)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def trace(self, trace_id: str, tree: list[Any]) -> dict[str, Any]:
        """The spans of a trace by name, once they are all there; they make exactly this tree."""
        count = len(_names(tree))
        spans = eventually(lambda: found if len(found := self.spans.get(trace_id, [])) >= count else None)
        assert spans is not None
        assert _tree(spans, PARENT) == tree
        for span in spans:
            assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        _inside(spans)
        return {span.name: span for span in spans}


def _names(tree: list[Any]) -> list[str]:
    return [name for each in tree for name in (_names(each) if isinstance(each, list) else [each])]


def _tree(spans: list[Any], parent: bytes) -> list[Any]:
    """The names of the spans below a parent, by their begin; behind each, the list of those below it, if any."""
    found: list[Any] = []
    below = [span for span in spans if span.parent_span_id == parent]
    for span in sorted(below, key=lambda span: (span.start_time_unix_nano, span.end_time_unix_nano)):
        found.append(span.name)
        if under := _tree(spans, span.span_id):
            found.append(under)
    return found


def _inside(spans: list[Any]) -> None:
    """What a worker did is within the time that the front gave it, whatever its clock."""
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        above = by_id.get(span.parent_span_id)
        if above is not None and above.name in {"worker", "handler"}:
            assert above.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= above.end_time_unix_nano


PARENT = bytes.fromhex("00f067aa0ba902b7")


def told(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


class Desk:
    """A server, its collector, and clients that have their requests recorded."""

    def __init__(self, server: LiveServer, sink: Sink, model: Model) -> None:
        self.server, self.sink, self.model = server, sink, model
        self._count = 0

    def fresh(self) -> str:
        """A new trace id."""
        self._count += 1
        return f"{self._count:032x}"

    def ask(self, path: str, body: bytes, trace_id: str, **headers: str) -> Any:
        headers = {"content_type": "application/octet-stream", **headers}
        return self.server.call("Inference", "POST", path, body, traceparent=parent(trace_id), **headers)

    def later(self, path: str, body: bytes, trace_id: str) -> Callable[[], Any]:
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(self.ask(path, body, trace_id)))
        thread.start()

        def result() -> Any:
            thread.join(60)
            return answers[0]

        return result


def parent(trace_id: str, flags: str = "01") -> str:
    return f"00-{trace_id}-{PARENT.hex()}-{flags}"


@pytest.fixture(scope="module")
def desk(home: Path) -> Iterator[Desk]:
    store = home / "store"
    make_model(store, "hooks", HOOKS, f"{ONE}jobQueueSize: 1\n")
    make_model(store, "pair", HOOKS, f"{ONE}batchSize: 2\nbatchPolicy: fixed\nmaxBatchDelay: 60000\nslowRequestMs: 1\n")
    make_model(store, "streams", STREAMS, ONE)
    make_model(store, "tensors", TENSORS, ONE)
    model = Model(store, home, "text")
    sink = Sink()
    thread = threading.Thread(target=sink.server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{sink.server.server_port}"
    properties = f"otlp_traces_endpoint={url}\ntrace_sampling_rate=0\nlog_format=json\n"
    names = ("hooks", "pair", "streams", "tensors", "text")
    server = LiveServer(home, names, properties=properties)
    model.server = server
    try:
        server.wait()
        for name in names:
            server.ready(name)
        yield Desk(server, sink, model)
    finally:
        assert server.stop() == 0
        sink.server.shutdown()
        sink.server.server_close()
        thread.join()


def test_a_plain_request_from_the_client_to_the_hooks(desk: Desk) -> None:
    trace_id = desk.fresh()
    answer = desk.ask("/predictions/hooks", b"hello", trace_id, tracestate="a=1", user_agent="me")
    assert answer.body == b"hello"
    spans = desk.sink.trace(trace_id, ["POST /predictions/{model}", ["queue", *WORK]])
    root = spans["POST /predictions/{model}"]
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
    desk.sink.trace(marker, ["POST /predictions/{model}", ["queue", *WORK]])
    assert unrecorded not in desk.sink.spans
    assert all(int(trace_id, 16) < 1000 for trace_id in desk.sink.spans)


def test_two_in_a_batch_are_linked_to_it_and_it_to_them(desk: Desk) -> None:
    first, second = desk.fresh(), desk.fresh()
    waiting = desk.later("/predictions/pair", b"a", first)
    eventually(lambda: desk.server.accepted("pair") == (0, 1))
    assert desk.ask("/predictions/pair", b"b", second).body == b"b"
    assert waiting().body == b"a"
    name = "POST /predictions/{model}"
    own = desk.sink.trace(first, [name, ["queue", *WORK]])
    other = desk.sink.trace(second, [name, ["queue", "batch"]])
    links = [(link.trace_id.hex(), link.span_id) for link in own["batch"].links]
    assert links == [(first, own[name].span_id), (second, other[name].span_id)]
    assert [(link.trace_id.hex(), link.span_id) for link in other["batch"].links] == [(first, own["batch"].span_id)]
    assert told(own["batch"])["torchserve.batch.size"] == told(other["batch"])["torchserve.batch.size"] == 2
    slow = eventually(lambda: [line for line in _lines(desk, first) if "slowRequestMs=1" in line["message"]])
    where = r"in the queue, .*in W-\d+-pair_1\.0 until it was answered, in a batch of 2 \(full\): handler \d+ ms \(preprocess "
    assert re.search(where, slow[0]["message"])


def test_a_stream_tells_of_its_first_piece(desk: Desk) -> None:
    trace_id = desk.fresh()
    answer = desk.ask("/predictions/streams", b"x", trace_id)
    assert answer.body == b"0 1 2 end"
    root = desk.sink.trace(trace_id, ["POST /predictions/{model}", ["queue", *BARE]])["POST /predictions/{model}"]
    assert answer.headers["traceparent"].split("-")[2] == root.span_id.hex()
    assert [event.name for event in root.events] == ["first_chunk"]
    assert root.start_time_unix_nano <= root.events[0].time_unix_nano <= root.end_time_unix_nano


def test_a_handler_that_raises_and_a_worker_that_dies(desk: Desk) -> None:
    name = "POST /predictions/{model}"
    raised = desk.fresh()
    assert desk.ask("/predictions/hooks", b"raise", raised).status == 503
    work = ["batch", ["worker", ["handler", ["preprocess", "inference"]]]]
    spans = desk.sink.trace(raised, [name, ["queue", *work]])
    failed = {each for each, span in spans.items() if span.status.code == 2}
    assert failed == {name, "batch", "worker", "handler"}
    assert told(spans[name])["error.type"] == "HandlerFailed"
    assert spans["handler"].status.message == spans[name].status.message == "Prediction failed"
    died = desk.fresh()
    assert desk.ask("/predictions/hooks", b"die", died).status >= 500
    spans = desk.sink.trace(died, [name, ["queue", "batch", ["worker"]]])
    assert (spans["worker"].status.code, told(spans[name])["error.type"]) == (2, "WorkerDied")
    desk.server.ready("hooks")


def test_a_client_that_leaves_and_a_queue_that_is_full(desk: Desk, tmp_path: Path) -> None:
    name = "POST /predictions/{model}"
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
    spans = desk.sink.trace(refused, [name, ["queue"]])
    assert (spans[name].status.code, told(spans[name])["error.type"]) == (2, "QueueFull")
    root = eventually(lambda: desk.sink.spans.get(left))
    assert root is not None
    assert (told(root[0])["http.response.status_code"], told(root[0])["error.type"]) == (499, "client_left")
    gate.open()
    assert [each().body for each in waiting] == [b"behind"] * len(waiting)
    spans = desk.sink.trace(left, [name, ["queue", *WORK]])
    assert spans["batch"].end_time_unix_nano > spans[name].end_time_unix_nano
    desk.sink.trace(behind, [name, ["queue", *WORK]])


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


def test_open_inference_and_openai(desk: Desk) -> None:
    oip = desk.fresh()
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}]}
    answer = desk.ask("/v2/models/tensors/infer", json.dumps(body).encode(), oip, content_type="application/json")
    assert np.allclose(answer.json["outputs"][0]["data"], [1.0, 2.0])
    desk.sink.trace(oip, ["POST /v2/models/{model}/infer", ["queue", *BARE]])
    text = desk.fresh()
    connection = desk.model.send("hello", max_tokens=3, stream=True, headers={"traceparent": parent(text)})
    assert connection.getresponse().read().endswith(b"data: [DONE]\n\n")
    connection.close()
    root = desk.sink.trace(text, ["POST /v1/completions", ["queue", *BARE]])["POST /v1/completions"]
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
