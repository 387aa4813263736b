"""Tokens, CORS, TLS, one port for several APIs, unix addresses (10.3, 10.5, 10.6, 2.4)."""

from __future__ import annotations

from pathlib import Path

from ..steps import Call, Files, Lines, Row, Setup, Until
from .brief import ask, core, manage, standard

_BEARER = "Bearer {key:%s}"


def _key(call: Call, kind: str) -> Call:
    """The call with the key of a kind."""
    return _auth(call, _BEARER % kind)


def _auth(call: Call, value: str) -> Call:
    return Call(call.face, call.method, call.path, call.body, (*call.headers, ("Authorization", value)))


_PING, _LIST = ask("/ping", method="GET"), manage("GET", "/models")
_PREDICT = ask("/predictions/echo", "x", "text/plain")

TOKENS: tuple[Row, ...] = (
    core("the key file", "10.3", Files("key_file.json"), Lines("key_file.json", r'"(\w[\w ]*)":', 8)),
    core("tokens: ping without a key", "10.3", _PING),
    core("tokens: ping with the key", "10.3", _key(_PING, "inference")),
    core("tokens: ping with the management key", "10.3", _key(_PING, "management")),
    core("tokens: ping with a wrong key", "10.3", _auth(_PING, "Bearer nonsense")),
    core("tokens: another scheme", "10.3", _auth(_PREDICT, "Basic {key:inference}")),
    core("tokens: no scheme", "10.3", _auth(_PREDICT, "{key:inference}")),
    core("tokens: scheme in lower case", "10.3", _auth(_PREDICT, "bearer {key:inference}")),
    core("tokens: predict without a key", "10.3", _PREDICT),
    core("tokens: predict with the key", "10.3", _key(_PREDICT, "inference")),
    core("tokens: unknown path without a key", "10.3", ask("/nothing", method="GET")),
    core("tokens: unknown path with the key", "10.3", _key(ask("/nothing", method="GET"), "inference")),
    core("tokens: list without a key", "10.3", _LIST),
    core("tokens: list with the key", "10.3", _key(_LIST, "management")),
    core("tokens: list with the inference key", "10.3", _key(_LIST, "inference")),
    core("tokens: list with the API key", "10.3", _key(_LIST, "API")),
    core("tokens: register without a key", "10.3", manage("POST", "/models?url=echo.mar")),
    core("tokens: describe with the key", "10.3", _key(manage("GET", "/models/echo"), "management")),
    core("tokens: metrics are open", "10.3", Call("metrics", "GET", "/metrics?name[]=None")),
    core("tokens: /token without a key", "10.3", manage("GET", "/token?type=inference")),
    core("tokens: /token with another key", "10.3", _key(manage("GET", "/token?type=inference"), "management")),
    core("tokens: a new inference key", "10.3", _key(manage("GET", "/token?type=inference"), "API"),
         _key(_PING, "inference"), _key(_LIST, "management")),
    core("tokens: a new management key", "10.3", _key(manage("GET", "/token?type=management"), "API"),
         _key(_LIST, "management")),
    core("tokens: a key of no kind", "10.3", _key(manage("GET", "/token"), "API")),
    core("tokens: a key of another kind", "10.3", _key(manage("GET", "/token?type=mine"), "API")),
    standard("tokens: v1 readiness without a key", "10.3", manage("GET", "/v1/models/echo")),
    standard("tokens: v1 readiness with the key", "10.3", _key(manage("GET", "/v1/models/echo"), "management")),
)  # fmt: skip

_LIST_KEY = _key(_LIST, "management")
EXPIRY: tuple[Row, ...] = (
    core(
        "tokens: an expired key", "10.3",
        Until(_LIST_KEY, "InvalidKey"), _LIST_KEY, _key(manage("GET", "/token?type=management"), "API"), _LIST_KEY,
    ),
)  # fmt: skip

_ORIGIN = (("Origin", "https://here.example"),)
CORS: tuple[Row, ...] = (
    core("CORS on ping", "10.5", Call("inference", "GET", "/ping", headers=_ORIGIN)),
    core("CORS without an origin", "10.5", _PING),
    core("CORS on a prediction", "10.5", Call("inference", "POST", "/predictions/echo", b"x", _ORIGIN)),
    core("CORS on an error", "10.5", Call("inference", "POST", "/predictions/nobody", b"x", _ORIGIN)),
    core("CORS on management", "10.5", Call("management", "GET", "/models", headers=_ORIGIN)),
)

TLS: tuple[Row, ...] = (
    core("TLS: ping", "10.6", _PING),
    core("TLS: predict", "10.6", _PREDICT),
    core("TLS: list", "10.6", _LIST),
    core("TLS: plain HTTP to it", "10.6", Call("inference", raw=b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", patience=3)),
)

ONE_PORT: tuple[Row, ...] = (
    core("one port: ping", "2.4", _PING),
    core("one port: predict", "2.4", _PREDICT),
    core("one port: list", "2.4", ask("/models", method="GET")),
    core("one port: describe", "2.4", ask("/models/echo", method="GET")),
    core("one port: no metrics there", "2.4", ask("/metrics?name[]=None", method="GET")),
    standard("one port: v1 readiness", "2.4", ask("/v1/models/echo", method="GET")),
    core("one port: unknown path", "2.4", ask("/nothing", method="GET")),
    core("one port: root", "2.4", ask("/", method="GET")),
    standard("one port: SageMaker invoke", "2.4", ask("/models/echo/invoke", "x", "text/plain")),
)

METRICS_SHARED: tuple[Row, ...] = (
    core("metrics on one port with the others", "2.4", ask("/metrics?name[]=None", method="GET"), _PING,
         ask("/models", method="GET")),
)  # fmt: skip
_CERTIFICATE, _PRIVATE = (
    # A key of its own, for this test alone: it protects nothing.
    (Path(__file__).parents[1] / "tls" / name).read_text()
    for name in ("cert.pem", "key.pem")
)
_TOKENLESS = ("--ncs", "--enable-model-api")
_ONE = "default_workers_per_model=1\n"
_SHARED = "http://127.0.0.1:{inference}"
SETUPS = (
    Setup("tokens", TOKENS, models=("echo.mar",), properties=_ONE + "disable_token_authorization=false\n", flags=_TOKENLESS,
          before=(Until(_key(_PREDICT, "inference"), "^200"),)),
    Setup("expiry", EXPIRY, flags=_TOKENLESS, properties="token_expiration_min=0.05\ndisable_token_authorization=false\n"),
    Setup("cors", CORS, models=("echo.mar",), before=(Until(_PREDICT, "^200"),), properties=_ONE
          + "cors_allowed_origin=https://here.example\ncors_allowed_methods=GET, POST, PUT, OPTIONS\n"
          + "cors_allowed_headers=X-Custom-Header\n"),
    Setup("tls", TLS, models=("echo.mar",), scheme="https", files=(("cert.pem", _CERTIFICATE), ("key.pem", _PRIVATE)), before=(Until(_PREDICT, "^200"),), properties=_ONE
          + "inference_address=https://127.0.0.1:{inference}\nmanagement_address=https://127.0.0.1:{management}\n"
          + "metrics_address=https://127.0.0.1:{metrics}\n"
          + "certificate_file={home}/cert.pem\nprivate_key_file={home}/key.pem\n"),
    Setup("one-port", ONE_PORT, models=("echo.mar",), before=(Until(_PREDICT, "^200"),),
          properties=_ONE + f"inference_address={_SHARED}\nmanagement_address={_SHARED}\n"
          + "metrics_address=http://127.0.0.1:{metrics}\n"),
    Setup("metrics-shared", METRICS_SHARED, properties=
          f"inference_address={_SHARED}\nmanagement_address={_SHARED}\nmetrics_address={_SHARED}\n"),
)  # fmt: skip
