"""Predictions under their other names: what KServe's and SageMaker's clients and TorchServe's oldest ones send."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from torchserve.core.config.address import Address
from torchserve.core.payload import Payload, Reply
from torchserve.http.routes import ROUTES
from torchserve.http.routing.fast_head import fast_head
from torchserve.http.transport.plain_head import read_plain

from ...ports import kept_ports
from ..doubles import SOON, FakeDataPlane, RunningFront, Sink, connect, head_and_body, running_front

HEADS = fast_head(ROUTES)

FORM = "Content-Type: application/x-www-form-urlencoded"


def raw(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def ask(h: RunningFront, *request: Any) -> int:
    lines, _ = head_and_body(await h.say(raw(*request)))
    return int(lines[0].split()[1])


def given(payload: Payload) -> tuple[dict[str, bytes], dict[str, str]]:
    """The rows of the handler's input, and those headers that the server adds."""
    added = {name: payload.headers[name] for name in ("explain", "url_path") if name in payload.headers}
    return {part.name: bytes(part.body) for part in payload.parts}, added


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "GET", "DELETE"]
)  # POST and PUT are fast_http.py's, the others aiohttp's
@pytest.mark.parametrize(
    ("path", "version", "rows", "added"),
    [
        ("/predictions/m?a=1", None, {}, {"explain": "False", "url_path": ""}),
        ("/explanations/m", None, {}, {"explain": "True", "url_path": ""}),
        ("/predictions/m/1.0/v1/chat/", "1.0", {}, {"explain": "False", "url_path": "v1/chat"}),
        ("/predictions/m/1.0/v1%2Fchat", "1.0", {}, {"explain": "False", "url_path": "v1/chat"}),
        ("/v1/models/m:predict?a=1", None, {}, {"explain": "False"}),
        ("/v1/models/m%3apredict/", None, {}, {"explain": "False"}),
        ("/v1/models/m:explain", None, {}, {"explain": "True"}),
        ("/v2/models/m/infer", None, {}, {"explain": "False"}),
        ("/v2/models/m/explain/", None, {}, {"explain": "True"}),
        ("/invocations?model_name=m&a=1", None, {"model_name": b"m", "a": b"1"}, {}),
        ("/invocations?model_name=", None, {"model_name": b""}, {}),
        ("/invocations/", None, {}, {}),
        ("/models/m/invoke?a=1&a=2&body=query", None, {"a": b"2"}, {}),
        ("/models/m/invoke/", None, {}, {}),
        ("/m/predict?a=%ff", None, {"a": "\ufffd".encode()}, {}),
        ("/m/1.0/predict/", "1.0", {}, {}),
    ],
)
async def test_each_path_reaches_its_model(
    method: str, path: str, version: str | None, rows: dict[str, bytes], added: dict[str, str]
) -> None:
    async with running_front() as h:
        assert await ask(h, method, path, b"hi") == 200
        assert h.data.targets == [("m", version)]
        assert given(h.data.payloads[0]) == (rows | {"body": b"hi"}, added)


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/predictions", 404),
        ("/predictions//1.0", 404),
        ("/predictions/m//v1", 404),
        ("/v1/models/nobody:predict", 404),
        ("/v1/models/m/1.0:predict", 404),
        ("/v1/models/m:predict/1.0", 404),
        ("/v1/models/m/infer", 404),
        ("/v2/models/m/infer/1.0", 404),
        ("/invocations/x", 404),
        ("/invocations?model_name=nobody", 404),
        ("/invocations?model_name=%zz", 403),
        ("/models/m/invoke/more", 404),
        ("/models/m/1.0", 404),
        ("/m/predict/more", 404),
        ("/m/9/predict", 404),
        ("/ping/predict", 404),
        ("/health/other", 404),
    ],
)
async def test_what_is_no_prediction(method: str, path: str, status: int) -> None:
    async with running_front() as h:
        assert await ask(h, method, path) == status
        assert h.data.payloads == []


@pytest.mark.parametrize(
    ("startup", "body", "headers", "status"),
    [
        (("m",), b"a=1", (FORM,), 200),
        ((), b"a=1&model_name=m", (FORM,), 200),
        ((), b"a=1&model_name=nobody", (FORM,), 404),
        ((), b"a=1", (FORM,), 400),
        (("m", "n"), b"hi", (), 400),
        ((), b'{"model_name": "m"}', ("Content-Type: application/json",), 400),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_invocations_find_their_model(
    method: str, startup: tuple[str, ...], body: bytes, headers: tuple[str, ...], status: int
) -> None:
    async with running_front(data=FakeDataPlane(startup=startup)) as h:
        assert await ask(h, method, "/invocations", body, *headers) == status
        assert h.data.targets == ([("m", None)] if status == 200 else [])


async def test_a_model_that_the_query_names_knows_of_a_body_on_its_way() -> None:
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(raw("POST", "/invocations?model_name=m", b"half")[:-2])
        await asyncio.wait_for(h.data.changed.wait(), SOON)
        assert h.data.arriving == 1
        writer.write(b"lf")
        assert (await asyncio.wait_for(reader.read(), SOON)).endswith(b"\r\n\r\nm")


async def test_a_merged_port_tells_predictions_from_management() -> None:
    with kept_ports(1) as (port,):
        one = Address("127.0.0.1", port)
        async with running_front(listen=dict.fromkeys(("inference", "management", "metrics"), one)) as h:
            for path in ("/models/m/invoke", "/v1/models/m:predict", "/m/predict"):
                assert await ask(h, "POST", path) == 200
            assert len(h.data.payloads) == 3
            h.control.result = []
            assert await ask(h, "GET", "/models/m/predict") == 200
            assert h.control.calls == [("describe", "m", "predict", False)]
            assert await ask(h, "GET", "/v1/models/m") == 200


@pytest.mark.parametrize(
    "path",
    ["/predictions/m", "/invocations?x=1", "/models/m/invoke", "/v1/models/m:predict?x", "/v2/models/a%20b/explain"],
)
def test_plain_aliases_take_the_short_way(path: str) -> None:
    plain = read_plain(HEADS, f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi".encode(), None, 100)
    assert plain is not None
    assert plain[0].target == path


@pytest.mark.parametrize("path", ["/models?url=x", "/models/m", "/v1/models/m", "/v2/models", "/invocationsx", "/ping"])
def test_management_does_not(path: str) -> None:
    assert (
        read_plain(HEADS, f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi".encode(), None, 100) is None
    )


async def test_every_row_of_a_form_can_be_streamed_back() -> None:
    def stream(payload: Payload, sink: Sink) -> None:
        for part in payload.parts:
            sink.chunk(Reply(part.body))
        sink.done(Reply(b"end"))

    async with running_front(data=FakeDataPlane(behave=stream)) as h:
        answer = await h.say(raw("POST", "/invocations?q=1", b"a=2&b=3", FORM))
    assert answer.endswith(b"1\r\n1\r\n1\r\n2\r\n1\r\n3\r\n3\r\nend\r\n0\r\n\r\n")
