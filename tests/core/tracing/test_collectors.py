"""What arrives at a collector, over HTTP, over gRPC and in a file, decoded by OpenTelemetry's own messages."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from torchserve.core.config.value_parsers import otlp_endpoint, pairs, share
from torchserve.core.errors import InvalidConfig
from torchserve.core.tracing import collectors
from torchserve.core.tracing.collectors import FileCollector, open_collector
from torchserve.core.tracing.exporter import CollectorFailed
from torchserve.core.tracing.otlp import as_json, as_protobuf
from torchserve.core.tracing.span import ERROR, SERVER, Event, Link, Span

TRACE, OWN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "a" * 16
SPAN = Span(
    "POST /x", TRACE, OWN, PARENT, 1_000_000_000_000_000_001, 1_000_000_000_000_000_002, SERVER,
    {"text": "é", "whole": 2**40, "real": 0.5, "flag": True}, (Event("first_chunk", 5),), (Link("b" * 32, "c" * 16),),
    ERROR, "broke", "a=1",
)  # fmt: skip
PLAIN = Span("queue", TRACE, PARENT, "", 1, 2)
HEADERS = {"authorization": "Bearer x"}


class Sink:
    """A collector over HTTP. It answers with the next of `statuses`, 200 where there are none left."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.closes = False
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                sink.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(sink.statuses.pop(0) if sink.statuses else 200)
                self.send_header("content-length", "0")
                self.end_headers()
                self.close_connection = sink.closes

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def checked(message: Any) -> None:
    (group,) = message.resource_spans
    resource = {each.key: each.value.string_value for each in group.resource.attributes}
    assert resource["service.name"] == "torchserve"
    (scope,) = group.scope_spans
    span, plain = scope.spans
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (TRACE, OWN, PARENT)
    assert (span.name, span.kind, span.trace_state) == ("POST /x", 2, "a=1")
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (SPAN.begin, SPAN.end)
    values = {each.key: each.value for each in span.attributes}
    assert (values["text"].string_value, values["whole"].int_value) == ("é", 2**40)
    assert (values["real"].double_value, values["flag"].bool_value) == (0.5, True)
    assert [(each.name, each.time_unix_nano) for each in span.events] == [("first_chunk", 5)]
    assert [(each.trace_id.hex(), each.span_id.hex()) for each in span.links] == [("b" * 32, "c" * 16)]
    assert (span.status.code, span.status.message) == (2, "broke")
    assert (plain.parent_span_id, plain.status.code, plain.kind) == (b"", 0, 1)


def test_over_http(sink: Sink) -> None:
    collector = open_collector(sink.url, HEADERS)
    collector.send([SPAN, PLAIN])
    collector.close()
    ((path, headers, body),) = sink.seen
    assert (path, headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
    assert (headers["authorization"], headers["content-encoding"]) == ("Bearer x", "gzip")
    checked(ExportTraceServiceRequest.FromString(gzip.decompress(body)))


def test_a_path_is_used_as_it_is_and_a_connection_again(sink: Sink) -> None:
    collector = open_collector(f"{sink.url}/otel/v1/traces", {})
    sink.closes = True  # which the collector finds out of at its next batch
    for _ in range(3):
        collector.send([PLAIN])
    collector.close()
    assert [path for path, _, _ in sink.seen] == ["/otel/v1/traces"] * 3


@pytest.mark.parametrize(("status", "again"), [(429, True), (503, True), (400, False), (500, False), (307, False)])
def test_a_refusal_says_whether_to_try_again(sink: Sink, status: int, again: bool) -> None:
    collector = open_collector(sink.url, {})
    sink.statuses = [status]
    with pytest.raises(CollectorFailed, match=str(status)) as failed:
        collector.send([PLAIN])
    collector.close()
    assert failed.value.again == again


def test_nobody_listens_and_nobody_answers() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as deaf:  # which accepts and never reads
        hanging = collectors.HttpCollector(f"http://127.0.0.1:{deaf.server_port}", {}, timeout=0.05)
        with pytest.raises(CollectorFailed) as failed:
            hanging.send([PLAIN])
        assert failed.value.again
        url = f"http://127.0.0.1:{deaf.server_port}"
    gone = open_collector(url, {})
    with pytest.raises(CollectorFailed):
        gone.send([PLAIN])


@contextmanager
def rpc_sink(code: grpc.StatusCode | None = None) -> Iterator[tuple[str, list[Any]]]:
    seen: list[Any] = []

    def export(request: bytes, context: grpc.ServicerContext) -> bytes:
        if code is not None:
            context.abort(code, "no")
        seen.append((request, dict(context.invocation_metadata())))
        return ExportTraceServiceResponse().SerializeToString()

    server = grpc.server(ThreadPoolExecutor(1))
    methods = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    name = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}", seen
    finally:
        server.stop(None).wait()


def test_over_grpc() -> None:
    with rpc_sink() as (url, seen):
        collector = open_collector(url, {"Authorization": "Bearer x"})
        collector.send([SPAN, PLAIN])
        collector.close()
    ((request, metadata),) = seen
    assert metadata["authorization"] == "Bearer x"
    checked(ExportTraceServiceRequest.FromString(request))


@pytest.mark.parametrize(
    ("code", "again"), [(grpc.StatusCode.UNAVAILABLE, True), (grpc.StatusCode.PERMISSION_DENIED, False)]
)
def test_a_status_says_whether_to_try_again(code: grpc.StatusCode, again: bool) -> None:
    with rpc_sink(code) as (url, _):
        collector = open_collector(url, {})
        with pytest.raises(CollectorFailed, match=code.name) as failed:
            collector.send([PLAIN])
        collector.close()
    assert failed.value.again == again


def test_into_a_file_of_bounded_size(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "spans.jsonl"
    collector = open_collector(f"file://{tmp_path}/a%20b/spans.jsonl", {})
    collector.send([SPAN, PLAIN])
    collector.send([PLAIN])
    lines = path.read_bytes().splitlines()
    assert len(lines) == 2
    checked(from_json(lines[0]))
    small = FileCollector(path, most=path.stat().st_size + 10)
    for _ in range(3):
        small.send([PLAIN])
    assert sorted(each.name for each in path.parent.iterdir()) == ["spans.jsonl", "spans.jsonl.1"]
    with pytest.raises(CollectorFailed):
        FileCollector(path / "below").send([PLAIN])


def from_json(line: bytes) -> Any:
    """OTLP JSON as a message. Its ids are hexadecimal where protobuf's own JSON has base64."""
    whole = json.loads(line)
    message = json_format.ParseDict(_without_ids(whole), ExportTraceServiceRequest())
    for made, told in zip(
        message.resource_spans[0].scope_spans[0].spans, whole["resourceSpans"][0]["scopeSpans"][0]["spans"], strict=True
    ):
        made.trace_id, made.span_id = bytes.fromhex(told["traceId"]), bytes.fromhex(told["spanId"])
        made.parent_span_id = bytes.fromhex(told.get("parentSpanId", ""))
        for link, its in zip(made.links, told.get("links", ()), strict=True):
            link.trace_id, link.span_id = bytes.fromhex(its["traceId"]), bytes.fromhex(its["spanId"])
    return message


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_ids(each) for key, each in value.items() if not key.endswith(("traceId", "panId"))}
    return [_without_ids(each) for each in value] if isinstance(value, list) else value


def test_the_two_forms_say_the_same() -> None:
    assert from_json(as_json([SPAN, PLAIN], {"a": "b"})) == ExportTraceServiceRequest.FromString(
        as_protobuf([SPAN, PLAIN], {"a": "b"})
    )


def test_the_resource_is_opentelemetrys_variables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=a%20b,service.name=x,=,rubbish")
    assert collectors.resource()["service.name"] == "x"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    found = collectors.resource()
    assert (found["service.name"], found["deployment.environment"]) == ("mine", "a b")
    assert "rubbish" not in found


def test_a_missing_package_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collectors, "_installed", lambda package: package != "grpc")
    open_collector("http://x:1", {})
    with pytest.raises(InvalidConfig, match=r"the package grpc: pip install 'torchserve\[tracing\]'"):
        open_collector("grpc://x:1", {})


@pytest.mark.parametrize(
    "text", ["http://h:4318", "https://h", "grpc://[::1]:4317", "grpcs://h:1", "file:///a/b", "http://h/v1/traces"]
)
def test_endpoints(text: str) -> None:
    assert otlp_endpoint(f" {text} ") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h:4318",
        "ftp://h",
        "http://",
        "http://h:x",
        "http://u:p@h",
        "http://h?a=b",
        "file:a",
        "file://h/a",
        "file:///",
    ],
)
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        otlp_endpoint(text)


def test_headers_and_rates() -> None:
    assert pairs(" a=b, c-d = e=f ") == "a=b, c-d = e=f"
    for wrong in ("a", "a b=c", "a=\r\nb: c", "a=é"):
        with pytest.raises(ValueError, match="name=value"):
            pairs(wrong)
    assert [share("0"), share(" 0.01 "), share("1")] == [0.0, 0.01, 1.0]
    for wrong in ("-0.1", "1.1", "nan", "x", ""):
        with pytest.raises(ValueError, match=r"."):
            share(wrong)
