"""What happens to a prediction, without any socket: a recording writer stands where a protocol would."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import pytest

from torchserve.core.controlplane import ControlPlane
from torchserve.core.dataplane import DataPlane
from torchserve.core.errors import HandlerFailed, QueueFull
from torchserve.core.metrics.store import MetricStore
from torchserve.core.payload import Body, Payload, Reply
from torchserve.http.accesslog import Entry
from torchserve.http.app_context import AppContext
from torchserve.http.message.limits import Limits
from torchserve.http.message.request import Head
from torchserve.http.predict.http1_writer import Http1Writer
from torchserve.http.predict.predict_request import read_request
from torchserve.http.predict.prediction import Prediction
from torchserve.http.routes import ROUTES
from torchserve.http.routing.table import Table

from ..doubles import FakeControlPlane, FakeDataPlane, Sink, head_and_body
from ..fake_metrics import FakeMetrics


class Recorder(Http1Writer):
    def __init__(self, context: AppContext) -> None:
        self.context = context
        self.sent: list[bytes] = []
        self.ends: list[bool] = []

    def send(self, buffers: tuple[Body, ...], *, last: bool, keep: bool) -> None:
        self.sent.append(b"".join(buffers))
        if last:
            self.ends.append(keep)

    full = more = False

    def until_taken(self, remaining: object, go_on: object) -> None:
        raise AssertionError

    @property
    def bytes(self) -> bytes:
        return b"".join(self.sent)


class Harness:
    """A prediction with everything around it faked; nothing runs by itself."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.data = FakeDataPlane(behave=lambda payload, sink: None)
        self.metrics = FakeMetrics()
        self.log: list[Entry] = []
        self.context = AppContext(
            cast(DataPlane, self.data),
            cast(ControlPlane, FakeControlPlane()),
            cast(MetricStore, self.metrics),
            self.log.append,
            limits or Limits(),
        )
        self.out = Recorder(self.context)

    def open(self, target: str = "/predictions/m", *headers: tuple[bytes, bytes], **options: object) -> Prediction:
        unread = bool(options.pop("unread", False))
        head = Head(cast(str, options.pop("method", "POST")), target, headers, ("1.2.3.4", 5), **options)  # type: ignore[arg-type]
        found = Table({"inference"}, ROUTES).find_prediction(head.path())
        assert found is not None
        route, params = found
        request = read_request(self.context, head, "loopback", route, params)
        prediction = Prediction(self.context, request, self.out)
        prediction.open(unread=unread)
        return prediction

    def answer(self) -> tuple[list[str], bytes]:
        return head_and_body(self.out.bytes)


@pytest.mark.parametrize(
    ("target", "version", "url_path", "explain"),
    [
        ("/predictions/m", None, "", "False"),
        ("/predictions/m/", None, "", "False"),
        ("/predictions/m?a=b/c", None, "", "False"),
        ("/predictions/m/1.0", "1.0", "", "False"),
        ("/predictions/m/1.0/", "1.0", "", "False"),
        ("/predictions/%6d/1%2E0/v1/chat%20it/x?q=1", "1.0", "v1/chat it/x", "False"),
        ("http://localhost:80/predictions/m/1.0/a", "1.0", "a", "False"),
        ("/explanations/m/1.0", "1.0", "", "True"),
    ],
)
def test_the_path_names_the_model(target: str, version: str | None, url_path: str, explain: str) -> None:
    harness = Harness()
    harness.open(target).submit(b"")
    assert harness.data.targets == [("m", version)]
    headers = harness.data.payloads[0].headers
    assert (headers["url_path"], headers["explain"]) == (url_path, explain)


def test_the_payload_has_the_headers_as_written_and_the_last_of_two() -> None:
    harness = Harness()
    prediction = harness.open(
        "/predictions/m",
        (b"Content-Type", b"text/plain"),
        (b"X-A", b"1"),
        (b"X-A", b"caf\xe9"),
        (b"x-a", b"low"),
        (b"Content-Length", b"2"),
    )
    prediction.submit(b"hi")
    (payload,) = harness.data.payloads
    assert payload.request_id == prediction.id
    assert payload.parts[0].content_type == "text/plain"
    assert payload.headers == {
        "Content-Type": "text/plain", "X-A": "café", "x-a": "low", "Content-Length": "2", "explain": "False",
        "url_path": "",
    }  # fmt: skip


def test_how_a_body_came_is_none_of_the_handlers_business() -> None:
    harness = Harness()
    harness.open("/v1/models/m:predict", (b"transfer-encoding", b"chunked"), (b"Expect", b"100-continue")).submit(b"hi")
    assert harness.data.payloads[0].headers == {"content-length": "2", "explain": "False"}


def test_an_answer_is_sent_counted_and_logged_once() -> None:
    harness = Harness()
    prediction = harness.open("/predictions/m/1.0?x")
    prediction.submit(b"hi")
    prediction.done(Reply(b"out"))
    prediction.done(Reply(b"again"))
    prediction.fail(RuntimeError())
    prediction.abandon()
    lines, body = harness.answer()
    assert (lines[0], lines[1], body) == ("HTTP/1.1 200 ", f"x-request-id: {prediction.id}", b"out")
    assert harness.out.ends == [True]
    assert harness.metrics.statuses == [200]
    (seconds,) = harness.data.ends
    assert isinstance(seconds, float)
    assert seconds > 0
    assert [(entry.method, entry.target, entry.status) for entry in harness.log] == [
        ("POST", "/predictions/m/1.0?x", 200)
    ]


@pytest.mark.parametrize(
    ("target", "status", "kind"),
    [
        ("/predictions/nobody", 404, "ModelNotFoundException"),
        ("/predictions/m/9", 404, "ModelVersionNotFoundException"),
        ("/predictions/%zz", 403, "IllegalArgumentException"),
        ("/predictions/m%", 403, "IllegalArgumentException"),
    ],
)
def test_wrong_paths(target: str, status: int, kind: str) -> None:
    harness = Harness()
    prediction = harness.open(target)
    if not prediction.over:
        prediction.submit(b"")
    body = json.loads(harness.answer()[1])
    assert (body["code"], body["type"]) == (status, kind)
    assert harness.out.ends == [True]
    assert harness.metrics.statuses == [status]
    assert harness.data.ends == []


@pytest.mark.parametrize("error", [QueueFull("full"), HandlerFailed("Prediction failed", 503)])
def test_errors_leave_the_connection_open_when_the_body_was_read(error: Exception) -> None:
    harness = Harness()
    harness.open().fail(error)
    assert "connection: keep-alive" in harness.answer()[0]
    assert harness.out.ends == [True]


def test_an_error_before_the_body_was_read_closes() -> None:
    harness = Harness()
    prediction = harness.open("/predictions/m%", unread=True)
    assert prediction.over
    assert "connection: close" in harness.answer()[0]
    assert harness.out.ends == [False]


def test_a_declared_body_over_the_limit_is_refused_unread() -> None:
    harness = Harness(Limits(max_request_size=10))
    assert not harness.open("/predictions/m", (b"content-LENGTH", b"10"), unread=True).over
    assert harness.open("/predictions/m", (b"content-LENGTH", b"11"), unread=True).over
    assert harness.metrics.statuses == [413]
    assert harness.out.ends == [False]


def test_a_body_over_the_limit_is_refused() -> None:
    harness = Harness(Limits(max_request_size=10))
    harness.open().submit(b"x" * 10)
    harness.open().submit(b"x" * 11)
    assert len(harness.data.payloads) == 1
    assert harness.metrics.statuses == [413]


def test_draining_closes_behind_the_answer() -> None:
    harness = Harness()
    prediction = harness.open()
    prediction.submit(b"")
    harness.context.draining = True
    prediction.done(Reply(b"x"))
    assert "connection: close" in harness.answer()[0]
    assert harness.out.ends == [False]


def test_abandoning_cancels_and_is_logged() -> None:
    harness = Harness()
    prediction = harness.open()
    prediction.submit(b"")
    prediction.abandon()
    prediction.abandon()
    prediction.done(Reply(b"late"))
    assert harness.data.cancelled == 1
    assert harness.out.sent == []
    assert [entry.status for entry in harness.log] == [499]


@pytest.mark.parametrize("status", [0, 42, 101, 199, 600, 1000])
def test_a_status_that_can_not_be_sent_is_the_handlers_fault(status: int) -> None:
    for streamed in (True, False):
        harness = Harness()
        prediction = harness.open()
        prediction.submit(b"")
        (prediction.chunk if streamed else prediction.done)(Reply(b"x", status=status))
        lines, body = harness.answer()
        assert lines[0] == "HTTP/1.1 500 Internal Server Error"
        assert str(status) in json.loads(body)["message"]


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("POST", 204), ("POST", 304)])
def test_answers_without_a_body(method: str, status: int) -> None:
    harness = Harness()
    prediction = harness.open(method=method)
    prediction.submit(b"")
    prediction.done(Reply(b"hello", status=status))
    lines, body = harness.answer()
    assert body == b""
    assert ("content-length: 5" in lines) == (method == "HEAD")


def test_a_streamed_answer() -> None:
    harness = Harness()
    prediction = harness.open()
    prediction.submit(b"")
    for text in (b"hello", b"", b"world"):
        prediction.chunk(Reply(text, content_type="text/plain"))
    prediction.done(Reply(b"!"))
    lines, body = harness.answer()
    assert {
        "ts_stream_next: true",
        "transfer-encoding: chunked",
        "content-type: text/plain",
        "connection: keep-alive",
    } <= set(lines)
    assert not any(line.startswith("content-length") for line in lines)
    assert body == b"5\r\nhello\r\n5\r\nworld\r\n1\r\n!\r\n0\r\n\r\n"
    assert harness.out.ends == [True]
    assert harness.metrics.statuses == [200]
    assert len(harness.data.ends) == 1


def test_a_stream_may_end_with_nothing_or_begin_with_nothing() -> None:
    harness = Harness()
    prediction = harness.open()
    prediction.submit(b"")
    prediction.chunk(Reply(b""))
    prediction.done(Reply(b""))
    assert harness.answer()[1] == b"0\r\n\r\n"


def test_a_streamed_answer_to_http_1_0_ends_with_the_connection() -> None:
    harness = Harness()
    prediction = harness.open(version="1.0")
    prediction.submit(b"")
    prediction.chunk(Reply(b"hello"))
    prediction.done(Reply(b"!"))
    lines, body = harness.answer()
    assert body == b"hello!"
    assert "connection: close" in lines
    assert harness.out.ends == [False]


def test_a_stream_that_breaks_off_is_cut() -> None:
    harness = Harness()
    prediction = harness.open()
    prediction.submit(b"")
    prediction.chunk(Reply(b"hello"))
    prediction.fail(HandlerFailed("Prediction failed", 503))
    assert harness.out.ends == [False]
    assert harness.answer()[1] == b"5\r\nhello\r\n"
    assert harness.metrics.statuses == [500]
    assert [type(end) for end in harness.data.ends] == [HandlerFailed]


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        (((b"content-type", b"application/json"),), True),
        (((b"content-type", b"application/json"), (b"Content-Encoding", b"gzip")), False),
        (((b"content-type", b"text/plain"),), False),
    ],
)
def test_malformed_json_is_refused_unless_it_is_compressed(
    headers: tuple[tuple[bytes, bytes], ...], refused: bool
) -> None:
    harness = Harness()
    harness.open("/predictions/m", *headers).submit(b"{oops")
    assert harness.metrics.statuses == ([400] if refused else [])
    assert len(harness.data.payloads) == (0 if refused else 1)


def test_bytes_are_not_looked_at_when_handlers_decode() -> None:
    harness = Harness()
    harness.context.decode_input = False
    harness.open("/predictions/m", (b"content-type", b"application/json")).submit(b"{oops")
    assert len(harness.data.payloads) == 1


def test_a_dataplane_that_breaks_is_answered() -> None:
    def broken(payload: Payload, sink: Sink) -> None:
        raise ZeroDivisionError

    harness = Harness()
    harness.data.behave = broken
    harness.open().submit(b"")
    assert harness.metrics.statuses == [500]
    assert b"incident" in harness.out.bytes


def test_a_finished_prediction_is_freed_without_the_garbage_collector() -> None:
    harness = Harness()
    prediction = harness.open()
    prediction.submit(b"")
    prediction.done(Reply(b"x"))
    assert prediction._ticket is None


async def test_everything_runs_inside_one_callback() -> None:
    harness = Harness()
    done = asyncio.get_running_loop().create_future()

    def callback() -> None:
        prediction = harness.open()
        prediction.submit(b"hi")
        prediction.done(Reply(b"ho"))
        done.set_result(harness.out.bytes)

    asyncio.get_running_loop().call_soon(callback)
    assert (await done).endswith(b"ho")
