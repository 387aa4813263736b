"""Infer of the Open Inference Protocol at the front: whose a request is, what becomes of it, and what is refused how."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import ServeError
from torchserve.core.oip.rest import PACKED_AT_ONCE, READ_AT_ONCE
from torchserve.core.payload import Payload, Reply
from torchserve.http.message.errors import row
from torchserve.http.message.inflate import Inflation, coding_of
from torchserve.http.message.limits import Limits
from torchserve.http.message.request import Head, by_lower_name
from torchserve.http.predict.codecs.oip_v2 import OipV2Codec

from ..doubles import FakeDataPlane, Sink, connect, head_and_body, post, running_front, until

INFER = "/v2/models/m/infer"
JSON = "Content-Type: application/json"
CURLS_FORM = "Content-Type: application/x-www-form-urlencoded"
LIMITS = Limits(max_request_size=1_000_000)


def document(*inputs: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": list(inputs or (X,)), **more}).encode()


X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [[1.5, 2.5]]}
RAW = {"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}


def decode(body: bytes, *fields: str, codec: OipV2Codec | None = None, limits: Limits = LIMITS) -> Payload:
    """The payload of a request, decoded in one go or in its steps."""
    codec = codec or OipV2Codec(shared=True)
    pairs = [tuple(part.strip().encode() for part in field.split(":", 1)) for field in fields]
    head = Head("POST", INFER, pairs)  # type: ignore[arg-type]
    read = codec.read_head(head, by_lower_name(head.headers()), {"model": "m"}, check_json=True)
    steps = codec.decode(read, body, "id", limits)
    if isinstance(steps, tuple):
        return steps[1]
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value[1]


def test_a_json_request_becomes_raw_tensors() -> None:
    made = decode(document(id="7"), JSON)
    assert made.infer is not None
    assert (made.infer.id, [each.json for each in made.infer.inputs]) == ("7", [False])
    assert [(part.name, bytes(part.body)) for part in made.parts] == [("x", b"\0\0\xc0?\0\0 @")]
    assert made.headers["explain"] == "False"


def test_binary_tensors_are_views_of_the_body() -> None:
    head = document(RAW)
    body = head + b"abcdefgh"
    made = decode(body, f"Inference-Header-Content-Length: {len(head)}")
    view = made.parts[0].body
    assert isinstance(view, memoryview)
    assert (view.obj, bytes(view)) == (body, b"abcdefgh")


def test_many_values_are_left_to_the_worker() -> None:
    values = [1.25] * (PACKED_AT_ONCE // 4)
    made = decode(document({"name": "x", "datatype": "FP32", "shape": [len(values)], "data": values}), JSON)
    assert made.infer is not None
    assert made.infer.inputs[0].json
    assert json.loads(bytes(made.parts[0].body)) == values


def test_a_long_document_is_left_to_the_worker_unread() -> None:
    body = document(X, padding="x" * READ_AT_ONCE)
    made = decode(body, JSON, limits=Limits())
    assert made.infer is not None
    assert made.infer.whole
    assert made.parts[0].body is body


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"x", ("Content-Type: text/plain",)),
        (document(), ("Content-Type: text/plain",)),
        (b"a=1", (CURLS_FORM,)),
        (b'{"instances": [1]}', (JSON,)),
        (b'{"inputs": "text"}', (JSON,)),
        (b"\xff\xd8jpeg" + b"x" * READ_AT_ONCE, ("Content-Type: image/jpeg",)),
        (b"", ()),
        (gzip.compress(b"text", mtime=0), ("Content-Encoding: gzip",)),
    ],
)
def test_what_is_no_request_of_the_protocol_is_torchserve_s(body: bytes, fields: tuple[str, ...]) -> None:
    made = decode(body, *fields, limits=Limits())
    assert made.infer is None
    assert bytes(made.parts[0].body) == (body if not body.startswith(b"a=") else b"1")


@pytest.mark.parametrize("before", [b"", b"\n  "])
@pytest.mark.parametrize("padding", ["", "x" * READ_AT_ONCE])
def test_json_is_of_the_protocol_though_curl_calls_it_a_form(before: bytes, padding: str) -> None:
    body = before + document(X, padding=padding)
    assert decode(body, CURLS_FORM, limits=Limits()).infer is not None
    assert decode(b'{"instances": [1]}', CURLS_FORM, limits=Limits()).infer is None


def test_with_an_envelope_only_binary_tensors_are_of_the_protocol() -> None:
    codec = OipV2Codec(shared=True, enveloped=True)
    assert decode(document(), JSON, codec=codec).infer is None
    assert decode(document(X, padding="x" * READ_AT_ONCE), JSON, codec=codec, limits=Limits()).infer is None
    wanted = [{"name": "y", "parameters": {"binary_data": True}}]
    for body in (document(outputs=wanted), document(parameters={"binary_data_output": True})):
        assert decode(body, JSON, codec=codec).infer is not None
    head = document(RAW)
    assert decode(head + b"abcdefgh", f"Inference-Header-Content-Length: {len(head)}", codec=codec).infer is not None


@pytest.mark.parametrize(
    ("said", "priority", "timeout"),
    [({}, 3, 2.0), ({"timeout": 500_000}, 3, 0.5), ({"timeout": 9_000_000}, 3, 2.0), ({"timeout": 0}, 3, 2.0)],
)
def test_the_sooner_time_limit_counts(said: dict[str, int], priority: int, timeout: float) -> None:
    made = decode(document(parameters=said), JSON, "x-request-timeout-ms: 2000", "x-request-priority: 3")
    assert (made.priority, made.timeout) == (priority, timeout)


DEEP = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": ' + b"[" * 200 + b"1" + b"]" * 200 + b"}]}"
BOMB = zlib.compress(b"\0" * 50_000_000, 9)


@pytest.mark.parametrize(
    ("body", "fields", "status", "told"),
    [
        (b"{", (JSON,), 400, "Malformed JSON in body"),
        (DEEP, (JSON,), 400, "nested more deeply"),
        (document({**X, "shape": [1, 3]}), (JSON,), 400, r"shape \[1, 3\], which is 3 elements, and its data has 2"),
        (document({**X, "shape": [-1, 2]}), (JSON,), 400, "no dimension may be negative"),
        (document({**X, "shape": [2**40, 2**40]}), (JSON,), 400, "more than 9223372036854775807 elements"),
        (document({**X, "datatype": "INT8"}), (JSON,), 400, "must be whole numbers"),
        (document(X, X), (JSON,), 400, "Two of the request's inputs have the name 'x'"),
        (document(*[{**X, "name": str(n)} for n in range(5000)]), (JSON,), 400, "5000 inputs and at most 256"),
        (document(parameters={"timeout": "soon"}), (JSON,), 400, "timeout must be microseconds, not 'soon'"),
        (document(RAW), ("Inference-Header-Content-Length: 1000",), 400, "is 1000, and the body has"),
        (document(RAW), ("Inference-Header-Content-Length: 1e3",), 400, "number of bytes of the JSON, not '1e3'"),
        (document(RAW), (f"Inference-Header-Content-Length: {len(document(RAW))}",), 400, "is 8, and 0 bytes are left"),
        (document(), (JSON, "Content-Encoding: br"), 400, "must be one of gzip, deflate, identity, not 'br'"),
        (
            gzip.compress(document(), mtime=0)[:-20],
            (JSON, "Content-Encoding: gzip"),
            400,
            "ends before its gzip data do",
        ),
        (b"plain", (JSON, "Content-Encoding: gzip"), 400, "is no gzip data"),
        (b"", (JSON, "Content-Encoding: gzip"), 400, "ends before its gzip data do"),
        (
            gzip.compress(document(), mtime=0) + b"more",
            (JSON, "Content-Encoding: gzip"),
            400,
            "4 bytes follow the body's gzip",
        ),
        (BOMB, (JSON, "Content-Encoding: deflate"), 413, "more than 1000000 bytes .max_request_size"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(body: bytes, fields: tuple[str, ...], status: int, told: str) -> None:
    with pytest.raises(ServeError, match=told) as caught:
        decode(body, *fields)
    assert row(caught.value)[0] == status


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda body: zlib.compress(body)[2:-4]])
def test_compressed_requests_are_read(pack: Any) -> None:
    coding = "gzip" if pack is gzip.compress else "deflate"
    made = decode(pack(document()), JSON, f"Content-Encoding: {coding}")
    assert [bytes(part.body) for part in made.parts] == [b"\0\0\xc0?\0\0 @"]


def test_bodies_are_decompressed_in_steps_and_a_bomb_stops_at_once() -> None:
    inflation = Inflation()
    assert 10 <= len(list(inflation.inflate(zlib.compress(b"\0" * 4_000_000), "deflate", 10**7))) <= 40
    taken: list[None] = []
    with pytest.raises(ServeError):
        taken.extend(inflation.inflate(BOMB, "deflate", 1_000_000))
    assert len(taken) <= 4


def test_bodies_that_are_being_decompressed_are_bounded_together() -> None:
    inflation = Inflation()
    held = []
    for _ in range(2):
        steps = inflation.inflate(BOMB, "deflate", 10**9)
        held.append(steps)
        for _ in range(120):
            next(steps)
    late = inflation.inflate(BOMB, "deflate", 10**9)
    with pytest.raises(ServeError, match="are being decompressed, which is more than 67108864"):
        list(late)
    for steps in held:
        steps.close()
    assert len(list(inflation.inflate(BOMB, "deflate", 10**9))) > 100


FIELDS = st.lists(
    st.sampled_from(
        [JSON, "Content-Type: text/plain", "Content-Encoding: gzip", "Content-Encoding: deflate",
         "Inference-Header-Content-Length: 20", "Inference-Header-Content-Length: x", "x-request-timeout-ms: 9"]
    ),
    unique_by=lambda field: field.split(":")[0],
)  # fmt: skip


@given(st.binary(max_size=200) | st.binary(max_size=99).map(lambda tail: document(RAW)[:-1] + tail), FIELDS)
def test_arbitrary_bytes_are_never_an_error_of_the_server(body: bytes, fields: list[str]) -> None:
    try:
        decode(body, *fields)
    except ServeError as error:
        assert 400 <= row(error)[0] < 500


@given(st.text(max_size=20))
def test_a_coding_is_known_or_refused(text: str) -> None:
    try:
        assert coding_of(text) in {"", "gzip", "deflate"}
    except ServeError as error:
        assert "Content-Encoding" in error.message


# ---- over a connection


def tensors(payload: Payload, sink: Sink) -> None:
    assert payload.infer is not None
    sink.done(Reply(b"{}rawraw", 200, "", "application/octet-stream", (("Inference-Header-Content-Length", "2"),)))


async def test_the_worker_s_answer_is_passed_on() -> None:
    async with running_front(data=FakeDataPlane(behave=tensors)) as h:
        lines, body = head_and_body(await h.say(post(INFER, document(), JSON, "Connection: close")))
        assert lines[0] == "HTTP/1.1 200 "
        assert "Inference-Header-Content-Length: 2" in lines
        assert "content-type: application/octet-stream" in lines
        assert body == b"{}rawraw"


@pytest.mark.parametrize("size", [100, 5_000, 300_000])
@pytest.mark.parametrize(
    ("asked", "coding"),
    [("gzip", "gzip"), ("Deflate", "deflate"), ("gzip, deflate, br", ""), ("br", ""), ("*", ""), ("", "")],
)
async def test_an_answer_is_compressed_where_that_is_asked_for(size: int, asked: str, coding: str) -> None:
    plain = b"[" + b"1.25," * (size // 5) + b"0]"

    def behave(payload: Payload, sink: Sink) -> None:
        sink.done(Reply(memoryview(plain), 200, "", "application/json"))

    async with running_front(data=FakeDataPlane(behave=behave)) as h:
        raw = await h.say(post(INFER, document(), JSON, f"Accept-Encoding: {asked}", "Connection: close"))
        lines, body = head_and_body(raw)
        found = next((line.partition(": ")[2] for line in lines if line.startswith("Content-Encoding")), "")
        assert found == (coding if size > 512 else "")
        assert f"content-length: {len(body)}" in lines
        assert (zlib.decompress(body, 47) if found else body) == plain
        assert not found or len(body) < len(plain) // 4


async def test_a_client_that_leaves_while_its_answer_is_compressed() -> None:
    done: list[Sink] = []
    loop, go_on = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, go_on.wait)  # so that no answer is compressed meanwhile
    async with running_front(data=FakeDataPlane(behave=lambda payload, sink: done.append(sink))) as h:
        async with connect(h.port()) as (_, writer):
            writer.write(post(INFER, document(), JSON, "Accept-Encoding: gzip"))
            await until(lambda: done)
            done[0].done(Reply(bytes(100_000), 200, "", "application/octet-stream"))
        await until(lambda: h.log)
        assert [entry.status for entry in h.log] == [499]
        go_on.set()
        await busy
        await loop.run_in_executor(None, bytes)  # it runs behind the compression
    assert h.data.cancelled == 1


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_errors_have_the_protocol_s_key(method: str) -> None:
    async with running_front() as h:
        for path, body, status, keys in (
            (INFER, document({**X, "shape": [3]}), 400, ["code", "type", "message", "error"]),
            ("/v2/models/nobody/infer", document(), 404, ["code", "type", "message", "error"]),
            ("/v2/models/m/versions/1.0/infer", b"x", 400, ["error"]),
            ("/v2/models/m/versions/9/infer", document(), 404, ["error"]),
            ("/v2/nothing", b"", 404, ["error"]),
        ):
            lines, found = head_and_body(await h.say(post(path, body, JSON, "Connection: close", method=method)))
            assert int(lines[0].split()[1]) == status
            assert list(json.loads(found)) == keys


async def test_a_version_is_asked_for_by_its_path() -> None:
    async with running_front() as h:
        await h.say(post("/v2/models/m/versions/1.0/infer", document(), JSON, "Connection: close"))
        assert h.data.targets == [("m", "1.0")]
        assert h.data.payloads[0].infer is not None


@pytest.mark.parametrize(
    ("mode", "infers", "status"), [("on", True, 200), ("enveloped", False, 200), ("off", False, 404)]
)
async def test_the_protocol_can_be_left_to_torchserve(mode: Any, infers: bool, status: int) -> None:
    async with running_front(open_inference=mode) as h:
        await h.say(post(INFER, document(), JSON, "Connection: close"))
        assert (h.data.payloads[0].infer is not None) is infers
        lines, _ = head_and_body(await h.say(post("/v2", b"", "Connection: close", method="GET")))
        assert int(lines[0].split()[1]) == status


async def test_loading_is_a_registration() -> None:
    load = post("/v2/repository/models/m/load", b"{}", "Connection: close")
    async with running_front(model_api=False) as h:
        lines, _ = head_and_body(await h.say(load))
        assert lines[0].startswith("HTTP/1.1 405")
        assert h.control.calls == []
    async with running_front() as h:
        for path in (
            load,
            post("/v2/repository/models/m/load", b"{}", "Connection: close", "Origin: http://evil.example"),
        ):
            await h.say(path)
        assert h.control.calls == [("load", "m")]


async def test_beyond_loopback_nothing_is_loaded_without_a_key() -> None:
    from torchserve.core.config.address import Address

    anywhere = {"inference": Address("0.0.0.0", 0), "management": Address("127.0.0.1", 0)}
    async with running_front(listen=anywhere) as h:
        load = post("/v2/repository/models/m/load", b"{}", "Connection: close")
        assert head_and_body(await h.say(load))[0][0].startswith("HTTP/1.1 404")
        assert head_and_body(await h.say(load, "management"))[0][0].startswith("HTTP/1.1 200")
        assert h.control.calls == [("load", "m")]
