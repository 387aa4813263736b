"""OpenAI's routes: the model is named by the body, and errors look as OpenAI's clients read them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import BadRequest, HandlerFailed, InvalidKey, ModelNotFound, NoWorker, QueueFull
from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits
from torchserve.http.message.request import Head
from torchserve.http.predict.codecs.codec import HeadRead
from torchserve.http.predict.codecs.openai import OpenAiCodec

from ..doubles import FakeControlPlane, FakeDataPlane, Sink, head_and_body, running_front

CODEC = OpenAiCodec("v1/chat/completions")
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


def read(*headers: tuple[str, str]) -> HeadRead:
    head = Head("POST", PATHS[0], [(name.encode(), value.encode()) for name, value in headers])
    return CODEC.read_head(head, {name.lower(): value for name, value in headers}, {}, check_json=True)


def decode(body: bytes) -> tuple[str, Any]:
    return CODEC.decode(read(), body, "r1", Limits())


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model": "chat", "messages": []}', "chat"),
        (b'{"messages": [{"model": "other"}]}', ""),
        (b'{"stream": true, "model": "caf\\u00e9"}', "caf\u00e9"),
        (b"{}", ""),
    ],
)
def test_the_body_names_the_model(body: bytes, model: str) -> None:
    name, payload = decode(body)
    assert name == model
    (part,) = payload.parts
    assert (part.name, part.content_type) == ("body", "application/json")
    assert part.body is body
    assert payload.headers["url_path"] == "v1/chat/completions"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'"model"', b"{", b'{"model": 1}', b'{"model": null}', b'{"model": "\xff"}', b"[" * 100_000,
     b'{"a":' * 100_000, json.dumps({"model": "m" * 1025}).encode()],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        decode(body)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(), lambda of: st.lists(of) | st.dictionaries(st.text(), of)).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_whatever_comes_is_decoded_or_refused(body: bytes) -> None:
    try:
        decode(body)
    except BadRequest as error:
        assert len(error.message) < 2000


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8"])
def test_whatever_else_a_body_is_called_it_is_json(kind: str) -> None:
    assert read(("Content-Type", kind)).model == ""


def test_a_form_is_refused() -> None:
    with pytest.raises(BadRequest, match="multipart/form-data"):
        read(("Content-Type", "multipart/form-data; boundary=x"))


def test_a_deadline_is_read() -> None:
    assert read(("x-request-timeout-ms", "250")).timeout == 0.25


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (ModelNotFound("Model not found: x"), 404, "invalid_request_error", "model_not_found"),
        (BadRequest("no"), 400, "invalid_request_error", None),
        (InvalidKey("no key"), 401, "authentication_error", None),
        (QueueFull("full", retry_after=2.0), 429, "rate_limit_error", None),
        (NoWorker("none", retry_after=2.0), 503, "server_error", None),
        (HandlerFailed("broke", 507), 507, "server_error", None),
        (ValueError("secret"), 500, "server_error", None),
    ],
)
def test_errors_are_openais(error: Exception, status: int, kind: str, code: str | None) -> None:
    reply = CODEC.error(error)
    told = json.loads(bytes(reply.body))
    assert [*told] == ["error"]
    assert [*told["error"]] == ["message", "type", "param", "code"]
    assert (reply.status, told["error"]["type"], told["error"]["code"]) == (status, kind, code)
    assert "secret" not in told["error"]["message"]
    assert ("Retry-After", "2") in reply.headers or not isinstance(error, (QueueFull, NoWorker))


def stream_then_fail(payload: Payload, sink: Sink) -> None:
    loop = asyncio.get_running_loop()
    loop.call_soon(sink.chunk, Reply(b"data: {}\n\n", content_type="text/event-stream"))
    loop.call_soon(sink.fail, HandlerFailed("the engine died", 500))


def raw(path: str, body: bytes, method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize("path", PATHS)
async def test_a_request_reaches_the_model_that_its_body_names(path: str) -> None:
    async with running_front() as h:
        lines, echoed = head_and_body(await h.say(raw(path, b'{"model": "m"}')))
        assert (lines[0].split()[1], echoed) == ("200", b'{"model": "m"}')
        lines, told = head_and_body(await h.say(raw(path, b'{"model": "other"}')))
        assert (lines[0].split()[1], json.loads(told)["error"]["code"]) == ("404", "model_not_found")
        (payload,) = h.data.payloads
        assert payload.headers["url_path"] == path[1:]


async def test_a_stream_that_breaks_off_ends_with_an_event() -> None:
    async with running_front(data=FakeDataPlane(stream_then_fail)) as h:
        answered = await h.say(raw(PATHS[0], b"{}"))
        assert b"text/event-stream" in answered
        assert b'data: {"error":{"message":"the engine died"' in answered
        assert answered.endswith(b"\n\n\r\n0\r\n\r\n"), "the body has its end"


async def test_the_models_are_listed_for_openai_and_kserve() -> None:
    async with running_front(control=FakeControlPlane(result=None)) as h:
        _, listed = head_and_body(await h.say(raw("/v1/models", b"", "GET")))
        found = json.loads(listed)
        assert found["models"] == [each["id"] for each in found["data"]]
        assert {each["object"] for each in found["data"]} == {"model"}
        for well, status in ((True, "200"), (False, "503")):
            h.control.well = well
            lines, shown = head_and_body(await h.say(raw("/v1/models/m", b"", "GET")))
            assert (lines[0].split()[1], json.loads(shown)["ready"]) == (status, well)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/models/x", "404"), ("POST", "/v1/models/m", "405")]
)
async def test_what_is_no_model(method: str, path: str, status: str) -> None:
    async with running_front() as h:
        lines, _ = head_and_body(await h.say(raw(path, b"", method)))
        assert lines[0].split()[1] == status
