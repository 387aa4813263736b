"""A server whose requests are recorded, its collector on loopback, and the trees of what arrives there."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .live import LiveServer, eventually

LIMITS = '{"limited": {"requestsPerSecond": 0.001, "burst": 1}}'  # of a client
PARENT = bytes.fromhex("00f067aa0ba902b7")


class Sink:
    """A collector: the spans that came, by trace."""

    def __init__(self) -> None:
        self.spans: dict[str, list[Any]] = {}
        self._seen: dict[str, list[Any]] = {}
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

    def all(self, trace_id: str, tree: list[Any]) -> list[Any]:
        """The spans of a trace, once they are all there; they make exactly this tree, now and when the server ends."""
        count = len(_names(tree))
        spans = eventually(lambda: found if len(found := self.spans.get(trace_id, [])) >= count else None)
        assert spans is not None
        assert _tree(spans, PARENT) == tree
        for span in spans:
            assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        _inside(spans)
        self._seen[trace_id] = tree
        return spans

    def trace(self, trace_id: str, tree: list[Any]) -> dict[str, Any]:
        """The same by name."""
        return {span.name: span for span in self.all(trace_id, tree)}

    def nothing_more(self) -> None:
        """No span has come behind those that made a tree whole."""
        for trace_id, tree in self._seen.items():
            assert _tree(self.spans[trace_id], PARENT) == tree
            assert len(self.spans[trace_id]) == len(_names(tree))


def _names(tree: list[Any]) -> list[str]:
    return [name for each in tree for name in (_names(each) if isinstance(each, list) else [each])]


def _tree(spans: list[Any], parent: bytes) -> list[Any]:
    """The names of the spans below a parent, by their begin; behind each, the list of those below it, if any.

    A handler comes behind its calls: when it began is told by the worker's clock, and when they did by the front's.
    """
    found: list[Any] = []
    below = [span for span in spans if span.parent_span_id == parent]
    below.sort(key=lambda span: (span.name == "handler", span.start_time_unix_nano, span.end_time_unix_nano))
    for span in below:
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


def told(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


class Desk:
    """A server, its collector, and clients that have their requests recorded."""

    def __init__(self, server: LiveServer, sink: Sink) -> None:
        self.server, self.sink = server, sink
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


@contextmanager
def recorded(home: Path, models: Sequence[str]) -> Iterator[Desk]:
    """A server that records what its clients do, with these models of its store."""
    sink = Sink()
    thread = threading.Thread(target=sink.server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{sink.server.server_port}"
    properties = f"otlp_traces_endpoint={url}\ntrace_sampling_rate=0\nlog_format=json\nfair_share_header=x-client\n"
    server = LiveServer(
        home,
        models,
        properties=f"{properties}client_limits={LIMITS}\n",
        arguments=["--workflow-store", str(home / "store")],
    )
    try:
        server.wait()
        for name in models:
            server.ready(name)
        yield Desk(server, sink)
    finally:
        assert server.stop() == 0
        sink.server.shutdown()
        sink.server.server_close()
        thread.join()
    sink.nothing_more()
