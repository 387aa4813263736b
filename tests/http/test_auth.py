"""Who gets in: every route of the table, on every layout of listeners, with every sort of key."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time
from typing import Any

import aiohttp
import pytest

from torchserve.core.config.address import Address
from torchserve.core.key_file import KeyFile
from torchserve.core.tokens import Tokens
from torchserve.http.auth import TokenAuth
from torchserve.http.message.limits import Limits
from torchserve.http.routes import ROUTES
from torchserve.http.routing.route import ANY, APIS, Route
from torchserve.http.routing.table import Table

from ..ports import kept_ports
from .doubles import FakeControlPlane, RunningFront, answer, connect, head_and_body, post, running_front

LAYOUTS = {
    "apart": ("a", "b", "c"),
    "inference with management": ("a", "a", "c"),
    "management with metrics": ("a", "b", "b"),
    "one port": ("a", "a", "a"),
}
KEYS = ("none", "wrong", "expired", "inference", "management", "token")
OPENAI = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings"}
OPEN = {
    "/", "/api-description", "/ping", "/health/live", "/health/ready", "/metrics", "/metrics/{rest...}", "/v2/health/live",
    "/v2/health/ready",
}  # fmt: skip


def listeners(layout: str, free: list[int]) -> dict[Any, Address]:
    ports = dict(zip("abc", free, strict=True))
    apis = ("inference", "management", "metrics")
    return {api: Address("127.0.0.1", ports[name]) for api, name in zip(apis, LAYOUTS[layout], strict=True)}


class KeyedFront:
    """A front with tokens: one set of keys that are good, and one whose time is over."""

    def __init__(self, h: RunningFront, token_auth: TokenAuth) -> None:
        self.h = h
        self.token_auth = token_auth
        self.client = aiohttp.ClientSession()

    def key(self, name: str) -> str | None:
        if name == "none":
            return None
        if name == "wrong":
            return "abcd1234"
        tokens = json.loads(self.token_auth.path.read_bytes())
        return tokens["API" if name == "token" else name]["key"]

    async def ask(self, api: str, method: str, path: str, key: str | None) -> tuple[int, str]:
        """The status, and the type of an error."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        data = b"x" if method == "POST" else None
        async with self.client.request(method, self.h.url(path, api), headers=headers, data=data) as response:
            body = await response.read()
            if b"Token Authorization failed." in body:  # whatever the keys of the route's protocol
                return response.status, "InvalidKeyException"
            return response.status, json.loads(body)["type"] if body.startswith(b'{\n  "code"') else ""


@asynccontextmanager
async def front_with_keys(
    folder: Path, layout: str = "apart", *, age: float = 0.0, challenge: bool = False, **more: Any
) -> AsyncIterator[KeyedFront]:
    file = KeyFile(folder)
    tokens = Tokens.fresh(60.0, time() - age)
    file.create(tokens.as_json())
    token_auth = TokenAuth(tokens, file, challenge=challenge)
    control = FakeControlPlane(result={})
    with kept_ports(3) as free:
        listen = listeners(layout, free)
        async with running_front(
            Limits(linger=0.05), control=control, listen=listen, token_auth=token_auth, **more
        ) as h:
            made = KeyedFront(h, token_auth)
            try:
                yield made
            finally:
                await made.client.close()


def concrete(route: Route) -> list[tuple[str, str]]:
    """Requests that only this row answers; predictions by POST are fast_http.py's, by GET aiohttp's."""
    path = route.path
    for name, value in (
        ("{model}", "m"),
        ("{version}", "1.0"),
        ("{rest...}", "a/b"),
        ("{region}", "r"),
        ("{workflow}", "w"),
    ):
        path = path.replace(name, value)
    assert "{" not in path
    return [(method, path) for method in (("GET", "POST") if route.method == ANY else (route.method,))]


def served(layout: str) -> list[Route]:
    """The rows that some listener answers with: on one port the first of those with one method and path."""
    found: list[Route] = []
    names = LAYOUTS[layout]
    for name in dict.fromkeys(names):
        rows = Table([api for api, at in zip(APIS, names, strict=True) if at == name], ROUTES).routes
        found += {(row.method, row.path): row for row in reversed(rows)}.values()
    return found


def refused(answer: tuple[int, str], path: str = "") -> bool:
    """Return whether a key was refused: with TorchServe's status, or with OpenAI's where its clients look for that."""
    return answer == (401 if path in OPENAI else 400, "InvalidKeyException")


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_every_route_on_every_listener_with_every_key(tmp_path: Path, layout: str) -> None:
    expected: dict[tuple[str, ...], bool] = {}
    found: dict[tuple[str, ...], bool] = {}
    for name in KEYS:
        async with front_with_keys(tmp_path, layout, age=120.0 if name == "expired" else 0.0) as d:
            for route in served(layout):
                for method, path in concrete(route):
                    scope = route.scope
                    right = scope if scope != "open" else "none"
                    key = d.key(right if name == "expired" else name)
                    case = (route.api, method, route.path, name)
                    found[case] = not refused(await d.ask(route.api, method, path, key), path)
                    ages = scope != "token"  # the API key does not expire
                    expected[case] = scope == "open" or name == scope or (name == "expired" and not ages)
    assert found == expected
    assert {route.path for route in ROUTES if route.scope == "open"} == OPEN


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_what_is_not_there_is_told_to_holders_of_a_key_of_that_listener(tmp_path: Path, layout: str) -> None:
    async with front_with_keys(tmp_path, layout) as d:
        for api, path in (("inference", "/nothing"), ("management", "/"), ("inference", "/predictions/%zz")):
            for name in ("none", "wrong"):
                assert refused(await d.ask(api, "DELETE", path, d.key(name))), (api, path, name)
            assert (await d.ask(api, "DELETE", path, d.key(api)))[0] in {403, 404, 405}
        alone = LAYOUTS[layout].count("c") == 1
        assert (await d.ask("metrics", "GET", "/nothing", None))[0] == (404 if alone else 400)


@pytest.mark.parametrize(
    ("header", "in_"),
    [
        ("Bearer {key}", True), ("bearer {key}", True), ("BEARER  {key} ", True),
        ("Bearer{key}", False), ("{key}", False), ("Basic {key}", False), ("Bearer {key} more", False),
        ("Bearer", False), ("Bearer ", False), ("", False), ("Bearer \xe9", False), ("Bearer {key}\xe9", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_how_a_key_is_given(tmp_path: Path, header: str, in_: bool, method: str) -> None:
    async with front_with_keys(tmp_path) as d:
        value = header.format(key=d.key("inference"))
        raw = f"{method} /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nauthorization: {value}\r\n"
        lines, body = head_and_body(await d.h.say(f"{raw}Connection: close\r\n\r\nx".encode("latin-1")))
        assert lines[0].split()[1] == ("200" if in_ else "400")
        assert body == b"x" if in_ else b"InvalidKeyException" in body


async def test_a_refusal_is_torchserves(tmp_path: Path) -> None:
    async with front_with_keys(tmp_path) as d:
        for api, path, word in (
            ("inference", "/predictions/m", "Authorization"),
            ("management", "/token", "Authentication"),
        ):
            async with d.client.get(d.h.url(path, api)) as response:
                assert response.status == 400
                assert "WWW-Authenticate" not in response.headers
                assert await response.json() == {
                    "code": 400,
                    "type": "InvalidKeyException",
                    "message": f"Token {word} failed. Token either incorrect, expired, or not provided correctly",
                }


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_refusal_can_be_a_challenge(tmp_path: Path, method: str) -> None:
    async with front_with_keys(tmp_path, challenge=True) as d:
        for api, path in (("inference", "/predictions/m"), ("management", "/models"), ("management", "/token")):
            async with d.client.request(method, d.h.url(path, api)) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert (await response.json())["type"] == "InvalidKeyException"


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_refused_body_is_neither_read_nor_asked_for(tmp_path: Path, method: str) -> None:
    async with front_with_keys(tmp_path) as d:
        for api, path in (("inference", "/predictions/m"), ("management", "/models")):
            raw = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
            lines, _ = head_and_body(await d.h.say(raw.encode(), api))
            assert lines[0] == "HTTP/1.1 400 Bad Request"
            assert "connection: close" in lines
        assert d.h.data.payloads == []
        assert d.h.control.calls == []


# ---- new keys


@pytest.mark.parametrize("kind", ["inference", "management"])
async def test_a_new_key_replaces_the_old_one_at_once(tmp_path: Path, kind: str) -> None:
    path = {"inference": "/predictions/m", "management": "/models"}[kind]
    async with front_with_keys(tmp_path) as d:
        old = d.key(kind)
        assert await d.ask("management", "GET", f"/token?type={kind}", d.key("token")) == (200, "")
        assert refused(await d.ask(kind, "GET", path, old))
        assert d.key(kind) != old
        assert (await d.ask(kind, "GET", path, d.key(kind)))[0] == 200
        assert stat.S_IMODE(d.token_auth.path.stat().st_mode) == 0o600


async def test_a_key_that_was_good_on_a_connection_is_looked_at_again(tmp_path: Path) -> None:
    async with front_with_keys(tmp_path) as d, connect(d.h.port()) as (reader, writer):
        raw = post("/predictions/m", b"x", f"Authorization: Bearer {d.key('inference')}")
        writer.write(raw + raw)
        assert [(await answer(reader))[0][0].split()[1] for _ in range(2)] == ["200", "200"]
        await d.token_auth.renew("inference")
        writer.write(raw)
        assert (await answer(reader))[0][0] == "HTTP/1.1 400 Bad Request"


@pytest.mark.parametrize("query", ["", "?type=", "?type=API", "?type=bogus", "?kind=inference"])
async def test_what_key_to_make_has_to_be_said(tmp_path: Path, query: str) -> None:
    async with front_with_keys(tmp_path) as d:
        before = d.token_auth.path.read_bytes()
        assert await d.ask("management", "GET", f"/token{query}", d.key("token")) == (400, "BadRequestException")
        assert d.token_auth.path.read_bytes() == before


async def test_expired_keys_are_renewed_with_the_api_key(tmp_path: Path) -> None:
    async with front_with_keys(tmp_path, age=120.0) as d:
        assert refused(await d.ask("inference", "POST", "/predictions/m", d.key("inference")))
        assert (await d.ask("management", "GET", "/token?type=inference", d.key("token")))[0] == 200
        assert (await d.ask("inference", "POST", "/predictions/m", d.key("inference")))[0] == 200


async def test_a_key_that_could_not_be_written_does_not_count(tmp_path: Path) -> None:
    async with front_with_keys(tmp_path) as d:
        old, api = d.key("inference"), d.key("token")
        d.token_auth.path.unlink()
        d.token_auth.path.mkdir()
        (d.token_auth.path / "x").touch()
        assert await d.ask("management", "GET", "/token?type=inference", api) == (500, "InternalServerException")
        assert (await d.ask("inference", "POST", "/predictions/m", old))[0] == 200


async def test_the_word_token_elsewhere_is_no_call_for_a_token(tmp_path: Path) -> None:
    async with front_with_keys(tmp_path) as d:
        before = d.token_auth.path.read_bytes()
        headers = {"Authorization": f"Bearer {d.key('management')}", "Referer": "http://x/token?type=inference"}
        async with d.client.get(d.h.url("/models?next_page_token=/token", "management"), headers=headers) as response:
            assert response.status == 200
        api = {"Authorization": f"Bearer {d.key('token')}", "Referer": "http://x/token?type=inference"}
        async with d.client.get(d.h.url("/models/token", "management"), headers=api) as response:
            assert response.status == 400
        assert d.token_auth.path.read_bytes() == before


async def test_without_tokens_there_is_no_token_api() -> None:
    async with running_front() as h, aiohttp.ClientSession() as client:
        async with client.get(h.url("/token?type=inference", "management")) as response:
            assert response.status == 404


async def test_setting_up_writes_keys_that_open_and_closing_removes_them(tmp_path: Path) -> None:
    token_auth = TokenAuth.set_up(60.0, tmp_path)
    keys = json.loads(token_auth.path.read_bytes())
    token_auth.check("inference", {"authorization": f"Bearer {keys['inference']['key']}"})
    token_auth.close()
    assert not list(tmp_path.iterdir())
