"""Inference routes, what the handler is given, what its answers become, streaming, health (4.1-4.4, 4.6-4.8)."""

from __future__ import annotations

from ..steps import Call, Row, Setup
from .brief import ask, core, say, standard

_FORM = "application/x-www-form-urlencoded"
_PARTS = "multipart/form-data; boundary=XX"


def parts(*each: tuple[str, str]) -> bytes:
    """A multipart body of (part headers, content)."""
    return "".join(f"--XX\r\n{head}\r\n\r\n{text}\r\n" for head, text in each).encode() + b"--XX--\r\n"


def _field(name: str, text: str, more: str = "") -> tuple[str, str]:
    return f'Content-Disposition: form-data; name="{name}"{more}', text


ROUTES: tuple[Row, ...] = (
    core("predict by POST", "4.2", say("text hello")),
    core("predict by PUT", "4.2", ask("/predictions/probe", "text hello", "text/plain", "PUT")),
    core("predict by GET", "4.2", ask("/predictions/probe", method="GET")),
    core("predict by DELETE", "4.2", ask("/predictions/probe", method="DELETE")),
    core("predict a version", "4.2", ask("/predictions/probe/1.0", "text hello", "text/plain")),
    core("predict with a trailing slash", "4.2", ask("/predictions/probe/", "text hello", "text/plain")),
    core("predict a version with a trailing slash", "4.2", ask("/predictions/probe/1.0/", "text hi", "text/plain")),
    standard("predict with more path", "4.2", ask("/predictions/probe/1.0/v1/chat", "x", "text/plain")),
    core("explain", "4.2", ask("/explanations/probe", "x", "text/plain")),
    core("explain a version", "4.2", ask("/explanations/probe/1.0", "x", "text/plain")),
    standard("v1 predict", "4.2", ask("/v1/models/probe:predict", "x", "text/plain")),
    standard("v1 explain", "4.2", ask("/v1/models/probe:explain", "x", "text/plain")),
    standard("v2 infer", "4.2", ask("/v2/models/probe/infer", "x", "text/plain")),
    standard("v2 explain", "4.2", ask("/v2/models/probe/explain", "x", "text/plain")),
    standard("v1 readiness is not on the inference port", "4.2", ask("/v1/models/probe", method="GET")),
    standard("v1 readiness", "4.2", Call("management", "GET", "/v1/models/probe")),
    standard("v1 readiness of an unknown model", "4.2", Call("management", "GET", "/v1/models/nobody")),
    standard("v1 readiness by POST", "4.2", Call("management", "POST", "/v1/models/probe")),
    standard("v2 metadata is not there", "4.2", ask("/v2/models/probe", method="GET")),
    standard("v2 ready is not there", "4.2", ask("/v2/models/probe/ready", method="GET")),
    standard("v2 server metadata without the setting", "4.2", ask("/v2", method="GET")),
    standard("v2 versions", "4.2", ask("/v2/models/probe/versions/1/infer", "x", "text/plain")),
    standard("invocations of the only model", "4.2", ask("/invocations", "x", "text/plain")),
    standard("invocations of a named model", "4.2", ask("/invocations?model_name=probe", "x", "text/plain")),
    standard("invocations named in a form", "4.2", ask("/invocations", "model_name=probe&a=1", _FORM)),
    standard("SageMaker invoke", "4.2", ask("/models/probe/invoke", "x", "text/plain")),
    standard("SageMaker invoke with a query", "4.2", ask("/models/probe/invoke?a=1&b=two", "x", "text/plain")),
    standard("invocations with a query", "4.2", ask("/invocations?model_name=probe&a=1", "x", "text/plain")),
    standard("SageMaker invoke of an unknown model", "4.2", ask("/models/nobody/invoke", "x", "text/plain")),
    core("unknown model", "4.5", ask("/predictions/nobody", "x", "text/plain")),
    core("unknown version", "4.5", ask("/predictions/probe/9.0", "x", "text/plain")),
    core("explain an unknown model", "4.5", ask("/explanations/nobody", "x", "text/plain")),
    core("unknown path", "4.5", ask("/nothing/here", method="GET")),
    core("unknown path by POST", "4.5", ask("/nothing/here", "x", "text/plain")),
    core("predictions without a model", "4.5", ask("/predictions", "x", "text/plain")),
    core("predictions without a model but a slash", "4.5", ask("/predictions/", "x", "text/plain")),
    core("root by GET", "4.2", ask("/", method="GET")),
    core("root by POST", "4.2", ask("/", "x", "text/plain")),
    core("management is not on the inference port", "4.2", ask("/models", method="GET")),
    core("metrics are not on the inference port", "4.2", ask("/metrics", method="GET")),
    core("ping", "4.8", ask("/ping", method="GET")),
    core("ping by POST", "4.8", ask("/ping", "x", "text/plain")),
    core("ping with a slash", "4.8", ask("/ping/", method="GET")),
    core("a client's request id is replaced", "4.1", ask("/ping", method="GET", x_request_id="mine")),
)

INPUTS: tuple[Row, ...] = (
    core("input: JSON", "4.3", ask("/predictions/probe", '{"a": [1, 2.5, "\u00e4"]}', "application/json")),
    core("input: JSON with a charset", "4.3", ask("/predictions/probe", '{"a": 1}', "application/json; charset=utf-8")),
    core("input: JSON list", "4.3", ask("/predictions/probe", "[1, 2]", "application/json")),
    core("input: a JSON subtype", "4.3", ask("/predictions/probe", '{"a": 1}', "application/vnd.x+json")),
    core("input: broken JSON", "4.3", ask("/predictions/probe", '{"a": ', "application/json")),
    core("input: text", "4.3", ask("/predictions/probe", "gr\u00fc\u00df", "text/plain")),
    core("input: CSV", "4.3", ask("/predictions/probe", "1,2", "text/csv")),
    core("input: octets", "4.3", ask("/predictions/probe", b"1,2", "application/octet-stream")),
    core("input: no type", "4.3", ask("/predictions/probe", "1,2")),
    core("input: image type", "4.3", ask("/predictions/probe", "1,2", "image/png")),
    core("input: nothing", "4.3", ask("/predictions/probe")),
    core("input: form", "4.3", ask("/predictions/probe", "a=1&b=two+words&c=%C3%A4", _FORM)),
    core("input: form, the same name twice", "4.3", ask("/predictions/probe", "a=1&a=2", _FORM)),
    core("input: form without an equals sign", "4.3", ask("/predictions/probe", "plain", _FORM)),
    core("input: multipart field", "4.3", ask("/predictions/probe", parts(_field("a", "1")), _PARTS)),
    core(
        "input: multipart file", "4.3",
        ask("/predictions/probe", parts(_field("data", "12", '; filename="f.bin"\r\nContent-Type: image/png')), _PARTS),
    ),
    core(
        "input: multipart JSON and text files", "4.3",
        ask("/predictions/probe", parts(
            _field("j", '{"a": 1}', '; filename="j.json"\r\nContent-Type: application/json'),
            _field("t", "words", '; filename="t.txt"\r\nContent-Type: text/plain'),
        ), _PARTS),
    ),
    core(
        "input: several multipart files", "4.3",
        ask("/predictions/probe", parts(
            _field("one", "1", '; filename="1"'), _field("two", "2", '; filename="2"'), _field("note", "n"),
        ), _PARTS),
    ),
    core("input: the query is ignored", "4.3", ask("/predictions/probe?a=1", "x", "text/plain")),
    core("input: headers as the client wrote them", "4.3", ask("/predictions/probe", "x", "text/plain", X_MiXed="Yes")),
    core("input: a header twice", "4.3", Call("inference", "POST", "/predictions/probe", b"x", (("X-Twice", "1"), ("X-Twice", "2")))),
    core(
        "input: chunked", "4.3",
        Call("inference", raw=b"POST /predictions/probe HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
             b"Transfer-Encoding: chunked\r\n\r\n5\r\nchunk\r\n5\r\n by c\r\n0\r\n\r\n"),
    ),
    core(
        "input: Expect: 100-continue", "4.5",
        Call("inference", raw=b"POST /predictions/probe HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
             b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\ntext hello"),
    ),
    core("what the handler knows", "8.2", say("known now")),
)  # fmt: skip

OUTPUTS: tuple[Row, ...] = (
    core("output: text", "4.4", say("text gr\u00fc\u00df")),
    core("output: bytes", "4.4", say("bytes 00ff10")),
    core("output: integer", "4.4", say("number 7")),
    core("output: float", "4.4", say("number 1.5")),
    core("output: true", "4.4", say("true")),
    core("output: None", "4.4", say("null")),
    core("output: list", "4.4", say("list")),
    core("output: a status", "4.4", say("status 201 Made")),
    core("output: an error status", "4.4", say("status 418 Teapot")),
    core("output: 413 by status", "4.5", say("status 413 Much")),
    core("output: a header", "4.4", say("header X-Mine=yes")),
    core("output: a content type", "4.4", say("type text/html")),
    core("output: a content type with a charset", "4.4", say("type text/plain; charset=utf-8")),
    standard("streaming in three chunks", "4.6", say("stream 2")),
    standard("streaming in one chunk and an end", "4.6", say("stream 1")),
)

SETUPS = (
    Setup("inference", ROUTES + INPUTS + OUTPUTS, models=("probe.mar",)),
    Setup(
        "undecoded", (core("decode_input_request=false leaves bytes", "4.3",
             ask("/predictions/probe", '{"a": 1}', "application/json"), ask("/predictions/probe", "x", "text/plain")),),
        models=("probe.mar",), properties="decode_input_request=false\n",
    ),
)  # fmt: skip
