"""The payload log: what is drawn, kept, cut and redacted, and what becomes of it where a sink is slow or gone."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from torchserve.core.archive.packages import ModelPython
from torchserve.core.config.model_options import ModelOptions
from torchserve.core.config.payload_options import PayloadOptions
from torchserve.core.config.settings import Settings
from torchserve.core.dataplane import DataPlane
from torchserve.core.errors import HandlerFailed
from torchserve.core.models.payloads import payloads_of
from torchserve.core.models.registry import Registry
from torchserve.core.payload import Infer, Part, Payload, Reply, TensorHead
from torchserve.core.payload_log.model_payloads import LoggedSink, ModelPayloads, Sampling
from torchserve.core.payload_log.record import REQUEST, RESPONSE, PayloadRecord, body_of
from torchserve.core.payload_log.sinks import FileSink, HttpSink, open_sink
from torchserve.core.payload_log.writer import NotRedacted, PayloadWriter, SinkFailed

from ..doubles import Answering, Sink, model, slot

WAIT = 60.0  # seconds, for what comes at once
RECORD = PayloadRecord(REQUEST, "r1", "cats", "1.0", 1764526200.25, "text/plain", b"hello", 5)
TEXT = Payload("r1", (Part("body", "text/plain", b"hello world"),))


class Kept:
    """A sink of records: it keeps them, once its gate is open, or fails."""

    def __init__(self) -> None:
        self.records: list[PayloadRecord] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()
        self.closed = False

    def write(self, record: PayloadRecord) -> None:
        self.reached.set()
        assert self.gate.wait(WAIT)
        if self.error is not None:
            raise self.error
        self.records.append(record)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def writer(kept: Kept) -> Iterator[PayloadWriter]:
    made = PayloadWriter(kept, most=3000, pause=0.0)
    yield made
    kept.gate.set()
    made.close(WAIT)
    assert kept.closed


def payloads(
    writer: PayloadWriter, sample: float = 1.0, mode: str = "all", most: int = 100, drawn: float = 0.0
) -> ModelPayloads:
    return ModelPayloads(writer, ("cats", "1.0"), Sampling(sample, mode, most), draw=lambda: drawn)


# ---- what is drawn and kept


def test_a_request_and_its_answer_are_kept_and_the_answer_goes_on(writer: PayloadWriter, kept: Kept) -> None:
    inner = Sink()
    sink = payloads(writer, most=5).watch(TEXT, inner)
    for piece in (b"ab", b"cd", b"ef"):
        sink.chunk(Reply(piece))
    sink.done(Reply(b"", 201, content_type="application/json"))
    writer.close(WAIT)
    assert [what for what, _ in inner.heard] == ["chunk", "chunk", "chunk", "done"]
    request, answer = kept.records
    assert request[:4] == (REQUEST, "r1", "cats", "1.0")
    assert request[5:] == ("text/plain", b"hello", 11, 0)
    assert answer[5:] == ("application/json", b"abcde", 6, 201)
    assert (answer.kind, answer.id) == (RESPONSE, "r1")


@pytest.mark.parametrize(
    ("sample", "mode", "drawn", "kinds"),
    [
        (0.5, "all", 0.5, []),
        (0.5, "all", 0.49, [REQUEST, RESPONSE]),
        (0.0, "all", 0.0, []),
        (1.0, "request", 0.9, [REQUEST]),
        (1.0, "response", 0.9, [RESPONSE]),
    ],
)
def test_what_is_not_asked_for_is_not_kept(
    writer: PayloadWriter, kept: Kept, sample: float, mode: str, drawn: float, kinds: list[str]
) -> None:
    inner = Sink()
    sink = payloads(writer, sample, mode, drawn=drawn).watch(TEXT, inner)
    assert isinstance(sink, LoggedSink) == (RESPONSE in kinds)
    sink.done(Reply(b"x"))
    writer.close(WAIT)
    assert [record.kind for record in kept.records] == kinds


@pytest.mark.parametrize(
    ("error", "status"), [(HandlerFailed("bad input", 400), 400), (RuntimeError("bad input"), 500)]
)
def test_a_failure_is_an_answer(writer: PayloadWriter, kept: Kept, error: Exception, status: int) -> None:
    inner = Sink()
    payloads(writer, mode="response").watch(TEXT, inner).fail(error)
    writer.close(WAIT)
    assert kept.records[0][5:] == ("text/plain", b"bad input", 9, status)
    assert inner.outcome is error


def test_several_parts_and_tensors_are_one_object_within_the_bound() -> None:
    parts = (Part("a", "text/plain", b"abc"), Part("b", "", bytearray(b"\xff\x00defg")))
    kind, body, size = body_of(Payload("r", parts), 5)
    told = json.loads(body)["parts"]
    assert kind == "application/json"
    assert [(each["name"], base64.b64decode(each["data"])) for each in told] == [("a", b"abc"), ("b", b"\xff\x00")]
    assert size == len(body) + 4
    infer = Infer((TensorHead("x", "FP32", (1,)),))
    _, body, size = body_of(Payload("r", (Part("x", "", memoryview(b"\x00\x00\x80?")),), infer=infer), 100)
    assert json.loads(body) == {
        "parts": [{"name": "x", "contentType": "", "data": "AACAPw==", "shape": [1], "datatype": "FP32"}]
    }
    assert size == len(body)


# ---- what is lost


def test_a_sink_that_hangs_loses_records_and_holds_up_nobody(writer: PayloadWriter, kept: Kept) -> None:
    kept.gate.clear()
    for _ in range(8):  # of 517 bytes each: five fit
        writer.offer(RECORD, None)
    assert kept.reached.wait(WAIT)
    assert writer.overflowed == 3
    kept.gate.set()
    writer.close(WAIT)
    assert (writer.written, writer.overflowed, writer.unsent) == (5, 3, 0)


def test_a_sink_that_fails_is_told_of_once_a_minute_and_tried_again(
    writer: PayloadWriter, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    kept.error = SinkFailed("it is gone")
    writer.offer(RECORD, None)
    writer.offer(RECORD, None)
    writer.close(WAIT)
    assert (writer.written, writer.unsent) == (0, 2)
    assert caplog.text.count("it is gone. torchserve_payload_records_lost_total counts") == 1


def test_what_can_not_be_redacted_is_not_written(writer: PayloadWriter, kept: Kept) -> None:
    def fail(_: PayloadRecord) -> PayloadRecord:
        raise NotRedacted("no")

    writer.offer(RECORD, fail)
    writer.offer(RECORD, lambda _: None)
    writer.offer(RECORD, lambda record: record._replace(body=b"*"))
    writer.close(WAIT)
    assert ([record.body for record in kept.records], writer.unredacted, writer.written) == ([b"*"], 1, 1)


# ---- sinks


class Collected(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        server.got.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(server.status)
        self.send_header("content-length", "0")
        self.end_headers()
        self.close_connection = server.closes

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Collected)
    server.got, server.status, server.closes = [], 202, False
    server.timeout = 0.1
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_http_sink_gets_kserves_cloud_events(collector: Any) -> None:
    collector.closes = True
    sink = open_sink(f"http://127.0.0.1:{collector.server_port}/log?x=1", "Authorization=Bearer a, X-B = c")
    sink.write(RECORD)
    sink.write(RECORD._replace(kind=RESPONSE, model='ä "b"%', size=9, status=503, content_type="", body=b""))
    sink.close()
    (path, first, body), (_, second, _) = collector.got
    assert (path, body) == ("/log?x=1", b"hello")
    told = {name.lower(): value for name, value in first.items()}
    assert {name: told[name] for name in told if name.startswith("ce-") and name != "ce-source"} == {
        "ce-specversion": "1.0", "ce-id": "r1", "ce-type": "org.kubeflow.serving.inference.request",
        "ce-time": "2025-11-30T18:10:00.250Z", "ce-inferenceservicename": "cats", "ce-modelversion": "1.0",
    }  # fmt: skip
    assert told["ce-source"].endswith("/models/cats")
    assert (told["content-type"], told["authorization"], told["x-b"]) == ("text/plain", "Bearer a", "c")
    told = {name.lower(): value for name, value in second.items()}
    assert told["ce-type"] == "org.kubeflow.serving.inference.response"
    assert (told["ce-status"], told["ce-bodysize"], told["content-type"]) == ("503", "9", "application/octet-stream")
    assert told["ce-inferenceservicename"] == "%C3%A4%20%22b%22%25"


def test_an_http_sink_that_refuses_hangs_or_is_gone_fails(collector: Any) -> None:
    collector.status = 500
    sink = open_sink(f"http://127.0.0.1:{collector.server_port}")
    with pytest.raises(SinkFailed, match="answered with 500"):
        sink.write(RECORD)
    sink.close()
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        silent = HttpSink(address, {}, timeout=0.05)
        for _ in range(2):
            with pytest.raises(SinkFailed, match="timed out"):
                silent.write(RECORD)
        silent.close()
    gone = HttpSink(address, {})
    with pytest.raises(SinkFailed, match="refused"):
        gone.write(RECORD)


def test_a_file_has_a_line_for_each_and_is_put_aside_when_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "payloads.jsonl"
    sink = FileSink(path, most=400)
    binary = RECORD._replace(body=b"\xff", size=7, status=200, id="\ud800")
    for record in (RECORD, binary, RECORD):
        sink.write(record)
    sink.close()
    first, second = map(json.loads, path.with_name("payloads.jsonl.1").read_text().splitlines())
    assert first == {
        "type": REQUEST, "id": "r1", "time": 1764526200.25, "model": "cats", "version": "1.0",
        "contentType": "text/plain", "body": "hello",
    }  # fmt: skip
    assert (second["bodyBase64"], second["bodySize"], second["status"], second["id"]) == ("/w==", 7, 200, "?")
    assert len(path.read_text().splitlines()) == 1
    with pytest.raises(SinkFailed, match="Not a directory"):
        open_sink(f"file://{path}/below").write(RECORD)


# ---- models


def parts(payload_log: Any, **settings: Any) -> Any:
    return SimpleNamespace(payloads=payload_log, settings=Settings(**settings))


def spec(options: PayloadOptions) -> Any:
    return SimpleNamespace(
        name="cats", version="1.0", options=ModelOptions(payload_log=options), python=ModelPython(),
        archive=SimpleNamespace(model_dir=Path("/m")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "rate", "sample"),
    [
        (PayloadOptions(), 0.0, None),
        (PayloadOptions(), 0.5, 0.5),
        (PayloadOptions(sample=0.25), 0.5, 0.25),
        (PayloadOptions(sample=0.0), 0.5, None),
        (PayloadOptions(off=True), 1.0, None),
    ],
)
def test_a_models_yaml_goes_before_the_settings(
    writer: PayloadWriter, options: PayloadOptions, rate: float, sample: float | None
) -> None:
    found = payloads_of(spec(options), parts(writer, payload_log_sample_rate=rate))
    assert (found and found.share) == sample
    assert payloads_of(spec(options), parts(None, payload_log_sample_rate=rate)) is None


def test_bodies_have_the_yamls_bound_and_a_redactor_of_the_models_folder(writer: PayloadWriter) -> None:
    found = payloads_of(spec(PayloadOptions(1.0, "all", 7, ("redact", "f"))), parts(writer))
    assert found is not None
    assert found.most == 7
    assert found._redactor is not None
    assert found._redactor._redaction.model_dir == "/m"
    found.close()
    plain = payloads_of(spec(PayloadOptions(1.0)), parts(writer, payload_log_max_body=9))
    assert plain is not None
    assert plain.most == 9
    plain.close()


async def test_a_prediction_is_kept_on_its_way(writer: PayloadWriter, kept: Kept) -> None:
    registry, subject = Registry(), model("cats")
    registry.claim("cats", "1.0")
    registry.add(subject)
    subject.pool.slots.append(slot())
    Answering(subject.scheduler, lambda _: Reply(b"meow"))
    plane, sink = DataPlane(registry, 10**6), Sink()
    plane.submit("cats", None, TEXT, sink)
    await sink.told.wait()
    subject.payload_log = payloads(writer)
    sink = Sink()
    plane.submit("cats", None, TEXT, sink)
    await sink.told.wait()
    writer.close(WAIT)
    assert [(record.kind, record.body) for record in kept.records] == [(REQUEST, b"hello world"), (RESPONSE, b"meow")]
    assert sink.outcome.body == b"meow"
