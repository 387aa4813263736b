"""CORS: the headers are on every answer, whoever read the request and however it ended; preflights need no key."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from torchserve.core.payload import Payload, Reply
from torchserve.http.auth import TokenAuth
from torchserve.http.cors import Cors

from .doubles import FakeDataPlane, Sink, head_and_body, running_front

CORS = Cors("https://a.example", "GET, POST", "X-Mine, 100%")
LINES = [
    "Access-Control-Allow-Origin: https://a.example",
    "Access-Control-Allow-Methods: GET, POST",
    "Access-Control-Allow-Headers: X-Mine, 100%",
]
PREFLIGHT = "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n"


def request(method: str, path: str, more: str = "", version: str = "1.1") -> bytes:
    length = "Content-Length: 0\r\n" if method in {"POST", "PUT"} else ""
    return f"{method} {path} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n{length}{more}\r\n".encode()


def streamed(payload: Payload, sink: Sink) -> None:
    asyncio.get_running_loop().call_soon(sink.chunk, Reply(b"one"))
    asyncio.get_running_loop().call_soon(sink.done, Reply(b"two"))


def dressed(payload: Payload, sink: Sink) -> None:
    headers = (("access-control-allow-ORIGIN", "*"), ("X-Mine", "1"))
    asyncio.get_running_loop().call_soon(sink.done, Reply(b"x", headers=headers))


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request("POST", "/predictions/m"), 200),
        (request("GET", "/predictions/m"), 200),
        (request("POST", "/predictions/nobody"), 404),
        (request("GET", "/ping"), 200),
        (request("GET", "/nothing"), 404),
        (request("POST", "/predictions/m", "X: " + "x" * 9000 + "\r\n"), 400),
        (b"nonsense\r\n\r\n", 400),
        (request("POST", "/predictions/m").replace(b": 0", b": 99999999"), 413),
    ],
)
async def test_they_are_on_every_answer(raw: bytes, status: int) -> None:
    async with running_front(cors=CORS) as h:
        lines, _ = head_and_body(await h.say(raw))
        assert lines[0].split()[1] == str(status)
        assert [line for line in lines if line.lower().startswith("access-control")] == LINES


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("behave", [streamed, dressed])
async def test_streams_and_answers_with_headers_have_them_once(method: str, behave: object) -> None:
    async with running_front(data=FakeDataPlane(behave=behave), cors=CORS) as h:
        lines, _ = head_and_body(await h.say(request(method, "/predictions/m")))
        assert [line for line in lines if line.lower().startswith("access-control")] == LINES
        assert (behave is dressed) == ("X-Mine: 1" in lines)


async def test_without_the_settings_a_handlers_own_are_sent_and_no_others() -> None:
    async with running_front(data=FakeDataPlane(behave=dressed), cors=Cors()) as h:
        lines, _ = head_and_body(await h.say(request("POST", "/predictions/m")))
        assert [line for line in lines if "control-allow" in line.lower()] == ["access-control-allow-ORIGIN: *"]


@pytest.mark.parametrize("path", ["/", "/predictions/m", "/predictions/nobody/1/x", "/models/m", "/nothing"])
@pytest.mark.parametrize("api", ["inference", "management", "metrics"])
async def test_a_preflight_is_answered_everywhere_without_a_key_and_does_nothing(
    tmp_path: Path, path: str, api: str
) -> None:
    async with running_front(cors=CORS, token_auth=TokenAuth.set_up(60.0, tmp_path)) as h:
        lines, body = head_and_body(await h.say(request("OPTIONS", path, PREFLIGHT), api))
        assert (lines[0], body) == ("HTTP/1.1 200 OK", b"")
        assert [line for line in lines if line.startswith("Access-Control")] == LINES
        assert h.data.payloads == h.control.calls == []


@pytest.mark.parametrize(
    ("cors", "more", "status"),
    [
        (CORS, "", "400 Bad Request"),
        (CORS, "Origin: https://a.example\r\n", "400 Bad Request"),
        (CORS, "Origin: https://b.example\r\n", "403 Forbidden"),
        (Cors(), PREFLIGHT, "403 Forbidden"),
        (Cors(), "", "400 Bad Request"),
    ],
)
async def test_other_options_need_a_key_as_ever(tmp_path: Path, cors: Cors, more: str, status: str) -> None:
    async with running_front(cors=cors, token_auth=TokenAuth.set_up(60.0, tmp_path)) as h:
        for path in ("/predictions/m", "/nothing"):
            lines, _ = head_and_body(await h.say(request("OPTIONS", path, more)))
            assert lines[0] == f"HTTP/1.1 {status}"
