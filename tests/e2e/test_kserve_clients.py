"""What KServe's clients (kserve 0.21) send, byte for byte, and what they read of the answers."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import grpc
import pytest

from torchserve.http.rpc.protos.messages import message

from .live import Answer, LiveServer, make_model
from .test_open_inference import DOUBLES, ECHO, TYPED

V1 = """
def handle(data, context):
    if data is None:
        return None
    keys = ["explanations" if context.get_request_header(at, "explain") == "True" else "predictions" for at in range(len(data))]
    return [{key: [sum(each) for each in row["body"]["instances"]]} for key, row in zip(keys, data)]
"""
RAW = b"\x00\x00\x80?\x00\x00\x00@\x00\x00@@"  # 1, 2, 3 as FP32
TWICE = b"\x00\x00\x00@\x00\x00\x80@\x00\x00\xc0@"
JSON = (
    b'{"id":"b9d4","model_name":"doubles","inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1.0,2.0,3.0]}]}'
)
_BINARY = '"parameters":{"binary_data_size":12}'
INPUT = f'{{"name":"x","shape":[1,3],"datatype":"FP32",{_BINARY}}}'
Asked, Answered = message("inference.ModelInferRequest"), message("inference.ModelInferResponse")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[LiveServer]:
    make_model(home / "store", "doubles", DOUBLES, config=TYPED)
    make_model(home / "store", "echo", ECHO)
    make_model(home / "store", "v1", V1)
    running = LiveServer(home, ("doubles", "echo", "v1")).wait()
    for model in ("doubles", "echo", "v1"):
        running.ready(model)
    yield running
    running.stop()


def sent(server: LiveServer, method: str, path: str, body: bytes = b"", *headers: str) -> Answer:
    """The answer to the request that httpx makes of this."""
    port = server.ports["Inference"]
    lines = [
        f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept: */*", "Accept-Encoding: gzip, deflate",
        "Connection: keep-alive", "User-Agent: python-httpx/0.28.1", *headers,
        *([f"Content-Length: {len(body)}"] if body else []), "", "",
    ]  # fmt: skip
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("\r\n".join(lines).encode() + body)
        with HTTPResponse(connection) as response:
            response.begin()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/", {"status": "alive"}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/doubles/ready", {"name": "doubles", "ready": True}),
    ],
)
def test_health(server: LiveServer, path: str, told: dict[str, Any]) -> None:
    found = sent(server, "GET", path)
    assert (found.status, found.json) == (200, told)


def test_v1(server: LiveServer) -> None:
    body = b'{"instances":[[1,2]]}'
    ready = sent(server, "GET", "/v1/models/v1")
    assert (ready.status, ready.json["ready"]) == (200, True)
    for verb, key in (("predict", "predictions"), ("explain", "explanations")):
        found = sent(server, "POST", f"/v1/models/v1:{verb}", body, "content-type: application/json")
        assert (found.status, found.json) == (200, {key: [3]})


def test_v2_in_json(server: LiveServer) -> None:
    found = sent(server, "POST", "/v2/models/doubles/infer", JSON, "content-type: application/json")
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    assert found.json["id"] == "b9d4"
    assert found.json["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2.0, 4.0, 6.0]}]


@pytest.mark.parametrize("binary", [False, True])
def test_v2_in_binary_form(server: LiveServer, binary: bool) -> None:
    wanted = ',"outputs":[{"name":"y","parameters":{"binary_data":true}}],"parameters":{"a":"b"}' if binary else ""
    document = f'{{"id":"mine","model_name":"doubles","inputs":[{INPUT}]{wanted}}}'.encode()
    headers = f"inference-header-content-length: {len(document)}", "content-type: application/octet-stream"
    found = sent(server, "POST", "/v2/models/doubles/infer", document + RAW, *headers)
    assert found.status == 200
    if binary:  # the client cuts the body at the header
        assert found.body[int(found.headers["inference-header-content-length"]) :] == TWICE
    else:
        assert "inference-header-content-length" not in found.headers
        assert found.json["outputs"][0]["data"] == [2.0, 4.0, 6.0]


def test_v2_errors_are_read_from_the_body(server: LiveServer) -> None:
    found = sent(server, "POST", "/v2/models/nobody/infer", JSON, "content-type: application/json")
    assert (found.status, found.headers["content-type"]) == (404, "application/json")
    assert found.json["error"] == "Request for unknown model: 'nobody' is not found"


# The client's messages: typed and raw contents, of numbers and of texts. The raw ones say their size in a parameter, too.
MESSAGES = [
    ("Cgdkb3VibGVzGgRtaW5lIggKAWESAxoBYiodCgF4EgRGUDMyGgIBAyoOMgwAAIA/AAAAQAAAQEA=", "fp32_contents", [2.0, 4.0, 6.0]),
    ("CgRlY2hvKhIKAXgSBUJZVEVTGgEBKgNCAWE=", "bytes_contents", [b"a"]),
    (
        "Cgdkb3VibGVzGgRtaW5lIggKAWESAxoBYiolCgF4EgRGUDMyGgIBAyIWChBiaW5hcnlfZGF0YV9zaXplEgIQDDoMAACAPwAAAEAAAEBA",
        "",
        [TWICE],
    ),
    ("CgRlY2hvKiUKAXgSBUJZVEVTGgEBIhYKEGJpbmFyeV9kYXRhX3NpemUSAhAFOgUBAAAAYQ==", "", [b"\1\0\0\0a"]),
]


@pytest.mark.parametrize(("sent_message", "field", "values"), MESSAGES)
def test_grpc(server: LiveServer, sent_message: str, field: str, values: list[Any]) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['gRPC inference']}") as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer", response_deserializer=Answered.FromString
        )
        found = infer(base64.b64decode(sent_message), timeout=60)
    assert list(getattr(found.outputs[0].contents, field) if field else found.raw_output_contents) == values
    assert found.id == Asked.FromString(base64.b64decode(sent_message)).id
