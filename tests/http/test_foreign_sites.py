"""Web pages against real listeners: over both HTTP paths, each API, TCP and unix sockets, and what must keep working."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from torchserve.core.config.address import Address
from torchserve.http.auth import TokenAuth
from torchserve.http.cors import Cors
from torchserve.http.site_policy import Hosts

from ..ports import kept_ports
from .doubles import SOON, FakeControlPlane, RunningFront, answer, connect, head_and_body, running_front

PAGE = "Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n"
# Every way in: (API, request line, fields). A POST with a length is read by fast_http.py, the others by aiohttp.
FAST = ("inference", "POST /predictions/m", "Content-Length: 1\r\n")
WAYS = [
    FAST,
    ("inference", "POST /predictions/m", "Content-Length: 1\r\nTE: trailers\r\n"),
    ("inference", "GET /predictions/m", ""),
    ("inference", "PUT /v2/models/m/infer", "Content-Length: 1\r\nContent-Type: text/plain\r\n"),
    ("inference", "GET /ping", ""),
    ("inference", "OPTIONS /", ""),
    ("inference", "GET /api-description", ""),
    ("inference", "GET /nothing", ""),
    ("management", "GET /models", ""),
    ("management", "POST /models?url=m.mar", "Content-Length: 1\r\nContent-Type: text/plain\r\n"),
    ("management", "POST /models", "Content-Length: 1\r\nContent-Type: application/x-www-form-urlencoded\r\n"),
    ("management", "PUT /models/m?min_worker=0", "Content-Length: 0\r\n"),
    ("management", "DELETE /models/m", ""),
    ("management", "GET /token?type=management", ""),
    ("management", "OPTIONS /models/m", ""),
    ("management", "PATCH /nothing", ""),
    ("metrics", "GET /metrics", ""),
    ("metrics", "POST /metrics", "Content-Length: 0\r\n"),
]
HOST = "Host: localhost\r\n"
OPEN = {"GET /ping", "OPTIONS /", "GET /api-description"}
PROGRAMS = {line for api, line, _ in WAYS if api == "inference" and not line.startswith("GET ")}
CASES: list[tuple[str, tuple[bool | set[str] | None, ...]]] = [
    # (what the head says of its page and server, what passes: (inference, management, metrics); None: what only reads)
    # A set: what it has.
    (HOST, (True, True, True)),
    ("Host: 127.0.0.1:8081\r\n", (True, True, True)),
    ("Host: [::1]:8081\r\n", (True, True, True)),
    ("Host: this-machine\r\n", (True, True, True)),
    ("Host: proxy.example\r\nOrigin: https://proxy.example\r\nSec-Fetch-Site: same-origin\r\n", (True, True, True)),
    (f"{HOST}Sec-Fetch-Site: none\r\n", (True, True, True)),
    (f"{HOST}Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n", (True, True, True)),
    (f"{HOST}Origin: https://app.example\r\nSec-Fetch-Site: cross-site\r\n", (True, None, None)),
    (f"{HOST}Origin: http://evil.example\r\n", (False, False, False)),
    (f"{HOST}Origin: null\r\n", (False, False, False)),
    (f"{HOST}{PAGE}", (False, False, False)),
    (f"{HOST}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n", (False, False, False)),
    (f"{HOST}Sec-Fetch-Site: same-site\r\n", (False, False, False)),
    (f"{HOST}Origin: http://localhost:3000\r\nSec-Fetch-Site: same-site\r\n", (False, False, False)),
    ("Host: evil.example:8081\r\n", (OPEN | PROGRAMS, False, False)),
    ("Host: evil.example\r\nOrigin: http://evil.example\r\nSec-Fetch-Site: same-origin\r\n", (OPEN, False, False)),
]
APIS = ("inference", "management", "metrics")
HOSTS = Hosts(frozenset({"this-machine"}), ("proxy.example",))


def raw(line: str, fields: str, page: str) -> bytes:
    body = "x" if "Length: 1" in fields else ""
    return f"{line} HTTP/1.1\r\nConnection: close\r\n{fields}{page}\r\n{body}".encode()


async def refused(h: RunningFront, request: bytes, api: str) -> bool:
    """Whether a request is answered as a page's; then nothing was done for it."""
    before = len(h.data.payloads) + len(h.control.calls)
    lines, body = head_and_body(await h.say(request, api))
    if lines[0] != "HTTP/1.1 403 Forbidden":
        return False
    assert [*json.loads(body)][:3] == ["code", "type", "message"]
    assert (json.loads(body)["code"], json.loads(body)["type"]) == (403, "ForbiddenException")
    assert len(h.data.payloads) + len(h.control.calls) == before
    return True


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("page", "passing"), CASES)
async def test_every_way_in(page: str, passing: tuple[bool | set[str] | None, ...], shared: bool) -> None:
    control = FakeControlPlane(result={})
    with kept_ports(1) as (port,):
        listen = {api: Address("127.0.0.1", port if shared else 0) for api in APIS}
        cors = Cors("https://app.example", "", "")
        async with running_front(control=control, listen=listen, hosts=HOSTS, cors=cors) as h:
            for api, line, fields in WAYS:
                rules = api
                if shared and line.startswith(("GET /nothing", "OPTIONS / ", "GET /api-description")):
                    rules = "management" if "nothing" in line else "inference"
                passes = passing[APIS.index(rules)]
                if isinstance(passes, set):
                    expected = line in passes
                else:
                    expected = line.startswith("GET") if passes is None else passes
                assert await refused(h, raw(line, fields, page), api) is not expected, (line, fields)


@pytest.mark.parametrize(
    ("bound", "to", "host"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1", "localhost"),
        ("0.0.0.0", "127.0.0.1", "10.1.2.3"),
        ("0.0.0.0", "127.0.0.1", "torchserve"),
        ("0.0.0.0", "127.0.0.1", "torchserve.default.svc"),
        ("::1", "::1", "[::1]"),
    ],
)
async def test_an_address_answers_to_its_names(bound: str, to: str, host: str) -> None:
    if ":" in bound and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    listen: Any = {api: Address(bound, 0) for api in APIS}
    async with running_front(listen=listen, hosts=Hosts()) as h:
        for api, line in (("inference", "GET /ping"), ("management", "GET /models"), ("metrics", "GET /metrics")):
            request = raw(line, "", f"Host: {host}:{h.port(api)}\r\n")
            streams = await asyncio.open_connection(to, h.port(api))
            assert b" 403 " not in await exchange(streams, request)


def _has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


async def exchange(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes) -> bytes:
    """The first line of the answer."""
    reader, writer = streams
    writer.write(request)
    try:
        return (await asyncio.wait_for(reader.read(), SOON)).split(b"\r\n")[0]
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def test_beyond_loopback_predictions_answer_to_any_name_and_commands_do_not() -> None:
    listen: Any = {api: Address("0.0.0.0", 0) for api in APIS}
    async with running_front(listen=listen, hosts=Hosts()) as h:
        for api, line, fields in WAYS:
            found = await refused(h, raw(line, fields, "Host: models.example.com\r\n"), api)
            assert found is (api != "inference"), (line, fields)
            assert await refused(h, raw(line, fields, f"Host: models.example.com\r\n{PAGE}"), api)


async def test_with_a_key_a_name_is_of_no_interest_and_cors_counts(tmp_path: Path) -> None:
    token_auth = TokenAuth.set_up(60.0, tmp_path)
    keys = {kind: each["key"] for kind, each in json.loads(token_auth.path.read_bytes()).items()}
    key = f"Authorization: Bearer {keys['management']}\r\n"
    async with running_front(
        token_auth=token_auth, hosts=Hosts(), cors=Cors("https://app.example", "", "Authorization")
    ) as h:
        line, close = "GET /models", "Host: models.example.com\r\n"
        assert b" 200 " in await h.say(raw(line, key, close), "management")
        assert b" 200 " in await h.say(raw(line, key, f"{close}Origin: https://app.example\r\n"), "management")
        assert b" 403 " in await h.say(raw(line, key, f"{close}Origin: https://evil.example\r\n"), "management")
        assert b" 400 " in await h.say(raw(line, "", close), "management")
        assert b" 403 " in await h.say(raw("GET /metrics", "", close), "metrics"), "no key is asked for there"


async def test_a_unix_socket_has_any_name_and_no_foreign_page(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listen: Any = dict.fromkeys(APIS, Address("", 0, path=path))
    async with running_front(listen=listen, hosts=Hosts()) as h:
        for _, line, fields in WAYS:
            for page, wanted in (("Host: proxy.example\r\n", False), (f"Host: proxy.example\r\n{PAGE}", True)):
                found = await exchange(await asyncio.open_unix_connection(path), raw(line, fields, page))
                assert (b" 403 " in found) is wanted, (line, fields)
        assert h.log


async def test_http_1_0_without_a_host() -> None:
    async with running_front(hosts=Hosts()) as h:
        assert b" 200 " in await h.say(b"GET /ping HTTP/1.0\r\n\r\n")
        assert b" 403 " in await h.say(b"GET /ping HTTP/1.0\r\nOrigin: http://evil.example\r\n\r\n")


@pytest.mark.parametrize("way", WAYS[:2])
async def test_each_head_of_a_connection_is_looked_at(way: tuple[str, str, str]) -> None:
    """One that was let is remembered, one that was refused too, and neither speaks for the next."""
    _, line, fields = way
    good = f"{line} HTTP/1.1\r\n{HOST}{fields}\r\nx".encode()
    bad = f"{line} HTTP/1.1\r\n{HOST}{PAGE}{fields}\r\nx".encode()
    async with running_front(hosts=Hosts()) as h, connect(h.port()) as (reader, writer):
        for request, status in ((good, "200"), (good, "200"), (bad, "403"), (bad, "403"), (good, "200"), (bad, "403")):
            writer.write(request)
            lines, _ = await answer(reader)
            assert lines[0].split()[1] == status
            if "connection: close" in lines:
                return  # its body was not read: there is no next one
        assert len(h.data.payloads) == 3


async def test_the_log_says_once_what_to_set(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "torchserve.http.refusal_log")
    async with running_front(hosts=Hosts()) as h:
        for _ in range(3):
            assert await refused(h, raw("GET /metrics", "", "Host: gpu7.example.com:8082\r\n"), "metrics")
    (line,) = caplog.messages
    assert "set allowed_hosts=gpu7.example.com in its configuration" in line
